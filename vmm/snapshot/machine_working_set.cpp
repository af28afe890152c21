// The working set of a clone (working_set.h): taken from one, prefaulted for others.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/text.h"
#include "vmm/cpu/page_walker.h"
#include "vmm/parts.h"
#include "vmm/snapshot/page_map.h"
#include "vmm/snapshot/working_set.h"

namespace thimble {

namespace {

constexpr uint64_t kPage = 4096;
Result<WorkingSet> read_set(int file, uint64_t pages) {
  struct stat info{};
  if (::fstat(file, &info) != 0) return fail_errno("look at the working set");
  // Two bits for each page, and a header: nothing longer is looked at.
  if (static_cast<uint64_t>(info.st_size) > pages) return fail("the working set is too long");
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  const ssize_t got = ::pread(file, bytes.data(), bytes.size(), 0);
  if (got != static_cast<ssize_t>(bytes.size())) return fail_errno("read the working set");
  return WorkingSet::read(bytes, pages);
}

std::vector<PageRun> runs_below_the_hole(const WorkingSet& set) {
  std::vector<PageRun> runs;
  for_each_run(set.touched, [&](uint64_t first, uint64_t count) {
    constexpr uint64_t kEnd = map::kHoleStart / kPage;
    if (first >= kEnd) return;
    runs.push_back({.first = static_cast<uint32_t>(first * kPage),
                    .count = static_cast<uint32_t>(std::min(count, kEnd - first))});
  });
  return runs;
}

}  // namespace

Result<uint64_t> Machine::record_working_set(int file) const {
  const Parts& parts = *parts_;
  if (!parts.template_memory) return fail("record a working set: this machine is no clone");
  if (!parts.options.page_map) return fail("record a working set: no page map was given");
  auto set = parts.touched_so_far();
  if (!set) return fail_in("record a working set", set);
  const std::vector<uint8_t> bytes = set->write();
  if (::pwrite(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return fail_errno("write a working set");
  }
  return set->count_touched();
}

Result<WorkingSet> Machine::Parts::touched_so_far() const {
  auto set = touched_pages(host_memory.bytes(), options.page_map.get());
  if (set && before_reclaim) set->add(*before_reclaim);
  return set;
}

// Advice: what fails here leaves faults to the guest, and a line for the log. A machine that is to
// run at once gains nothing, since it would wait as long for the pages as its guest would
// (measured: docs/benchmarks.md).
void Machine::Parts::prefault_working_set(When claim) {
  const Fd file = std::move(options.working_set);
  if (!file || claim == When::kAtOnce) return;
  auto set = read_set(file.get(), options.memory_bytes / kPage);
  if (!set) return notice(set.error().message);
  host_memory.populate(set->written, MADV_POPULATE_WRITE);
  host_memory.populate(set->touched, MADV_POPULATE_READ);
  auto walked = walk_pages(kvm, vm.get(), memory, runs_below_the_hole(*set));
  host_memory.forget(map::kWalker, map::kWalkerEnd - map::kWalker);
  if (!walked) return notice(walked.error().message);
  walker = std::move(*walked);
}

}  // namespace thimble
