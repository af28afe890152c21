// A clone whose guest sleeps gives its memory back; see thimble/machine.h. The order:
//
//   pause       vCPUs and loop stand still; nothing is under way
//   look        every vCPU sleeps, nobody has an event for it; until when?
//   put away    the differences of the pages that it has changed; then the mapping shows the
//               template again, and no page of it is there
//   wait        for a timer of the guest's, an event of the loop's, a message to the caller
//   bring back  pages that differed become the clone's own again, and get what they had; the guest
//               fetches all others when it needs them, which is as quick as having them at hand
//   go on
//
// KVM writes to a guest's memory when somebody asks a vCPU for its state (the note that the vCPU
// was preempted), so all questions come before the pages are put away.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "vmm/parts.h"
#include "vmm/reclaim/sleeping_vcpu.h"
#include "vmm/snapshot/page_map.h"

namespace thimble {

namespace {

using std::chrono::nanoseconds;

// Shorter sleeps are not worth the way there and back.
constexpr std::chrono::milliseconds kShortest{500};
// So much before a timer is due the way back begins.
constexpr std::chrono::milliseconds kWayBack{3};
// Of the template, read at once.
constexpr size_t kReadPages = 4;

}  // namespace

Result<ReclaimReport> Machine::reclaim(int until) {
  Parts& parts = *parts_;
  if (!parts.template_memory) return fail("reclaim: this machine is no clone");
  if (!parts.options.page_map) return fail("reclaim: no page map was given");
  if (parts.loop_thread.load() == std::this_thread::get_id()) {
    return fail("reclaim: not from the machine's own callbacks");
  }
  const auto guard = parts.begin_operation();
  if (auto paused = parts.pause(); !paused) return std::unexpected(paused.error());
  parts.reclaiming.store(true);
  auto report = parts.reclaim(until);
  parts.reclaiming.store(false);
  if (auto resumed = parts.resume(); !resumed) return fail("reclaim: the machine has ended");
  return report;
}

Result<ReclaimReport> Machine::Parts::reclaim(int until) {
  ReclaimReport report;
  auto sleep = all_sleep();
  if (!sleep) return std::unexpected(sleep.error());
  if (sleep->awake != nullptr) {
    report.why_not = sleep->awake;
    return report;
  }
  if (sleep->left < kShortest) {
    report.why_not = "a timer is due soon";
    report.until_timer = sleep->left;
    return report;
  }
  auto set = touched_pages(host_memory.bytes(), options.page_map.get());
  if (!set) return std::unexpected(set.error());
  if (set->count_written() > WorkingSet::kMaxWritten) {
    report.why_not = "it has changed too much";
    return report;
  }
  auto stash = put_away(*set);
  if (!stash) return std::unexpected(stash.error());
  report.reclaimed = true;
  report.pages = set->count_touched();
  report.kept_bytes = stash->bytes();
  report.by_timer = !wait_for_work(sleep->left - kWayBack, until);
  host_memory.put_back(*stash);
  if (before_reclaim) set->add(*before_reclaim);
  before_reclaim = std::move(*set);
  return report;
}

Result<VcpuSleep> Machine::Parts::all_sleep() const {
  VcpuSleep all{.left = loop->until_next_timer().value_or(nanoseconds::max())};
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus) {
    auto sleep = sleep_of(vcpu->fd());
    if (!sleep || sleep->awake != nullptr) return sleep;
    all.left = std::min(all.left, sleep->left);
  }
  if (!loop->is_idle()) all.awake = "a device has something for it";
  return all;
}

Result<Stash> Machine::Parts::put_away(const WorkingSet& set) {
  auto stash = Stash::make(set.count_written());
  if (!stash) return stash;
  const std::span<const uint8_t> now = host_memory.bytes();
  std::array<uint8_t, kReadPages * kPageBytes> before{};
  bool whole = true;
  for_each_run(set.written, [&](uint64_t first, uint64_t count) {
    for (uint64_t done = 0; whole && done < count; done += kReadPages) {
      const uint64_t page = first + done;
      const size_t pages = std::min<uint64_t>(kReadPages, count - done);
      const auto got = ::pread(template_memory.get(), before.data(), pages * kPageBytes,
                               static_cast<off_t>(page * kPageBytes));
      whole = got == static_cast<ssize_t>(pages * kPageBytes);
      for (size_t i = 0; whole && i < pages; ++i) {
        stash->add(static_cast<uint32_t>(page + i),
                   PageView(before.data() + i * kPageBytes, kPageBytes),
                   PageView(now.data() + (page + i) * kPageBytes, kPageBytes));
      }
    }
  });
  if (!whole) return fail("reclaim: the snapshot's memory file cannot be read");
  host_memory.forget(0, now.size());
  return stash;
}

bool Machine::Parts::wait_for_work(nanoseconds max, int until) const {
  // A negative descriptor is not looked at.
  std::array<pollfd, 2> work{pollfd{.fd = loop->poll_fd(), .events = POLLIN, .revents = 0},
                             pollfd{.fd = until, .events = POLLIN, .revents = 0}};
  constexpr std::chrono::hours kLongest{24};
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::min<nanoseconds>(max, kLongest));
  return ::poll(work.data(), work.size(), static_cast<int>(ms.count())) != 0;
}

}  // namespace thimble
