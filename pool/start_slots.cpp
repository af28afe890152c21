// See start_slots.h.
#include "pool/start_slots.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

namespace thimble {

namespace {

constexpr std::chrono::milliseconds kLookAgain{20};
constexpr unsigned kMostBoots = 1024;

bool lock(const Fd& file, int how) {
  int result = 0;
  while ((result = ::flock(file.get(), how)) != 0 && errno == EINTR) {
  }
  return result == 0;
}

// Calls `tell` unless it is destroyed before. By a thread, since a flock() that is interrupted
// loses its place among those that wait.
class TellAfter {
 public:
  TellAfter(std::chrono::milliseconds patience, const std::function<void()>& tell)
      : thread_([this, patience, &tell](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          const bool ended =
              ended_.wait_for(lock, stop, patience, [&stop] { return stop.stop_requested(); });
          if (!ended && tell) tell();
        }) {}

 private:
  std::mutex mutex_;
  std::condition_variable_any ended_;
  std::jthread thread_;
};

}  // namespace

// The open file may have been inherited by a process that is just being forked.
void StartSlot::release() {
  if (slot_) ::flock(slot_.get(), LOCK_UN);
  slot_.reset();
  if (turn_) ::flock(turn_.get(), LOCK_UN);
  turn_.reset();
}

Result<Fd> StartSlots::open_file(const std::string& name) const {
  auto file = folder_.write_to(name);
  if (!file) return fail(file.error().message);
  return std::move(*file);
}

Result<std::optional<Fd>> StartSlots::try_slots() const {
  for (unsigned i = 0; i < count_; ++i) {
    auto slot = open_file("slot-" + std::to_string(i));
    if (!slot) return std::unexpected(slot.error());
    if (lock(*slot, LOCK_EX | LOCK_NB)) return std::move(*slot);
  }
  return std::nullopt;
}

Result<bool> StartSlots::is_held(const std::string& name) const {
  auto file = open_file(name);
  if (!file) return std::unexpected(file.error());
  return !lock(*file, LOCK_EX | LOCK_NB);
}

Result<StartSlot> StartSlots::take(const std::string& wanted,
                                   const std::function<void()>& on_long_wait) const {
  auto turn = open_file("turn");
  if (!turn) return std::unexpected(turn.error());
  const bool first = lock(*turn, LOCK_EX | LOCK_NB);
  if (first) {
    auto slot = try_slots();
    if (!slot) return std::unexpected(slot.error());
    if (*slot) return StartSlot(std::move(**slot), false);
  }
  Fd want;
  if (!wanted.empty()) {
    auto file = open_file("want-" + wanted);
    if (!file) return std::unexpected(file.error());
    want = std::move(*file);
    lock(want, LOCK_SH);  // who looks holds it for a moment only
  }
  const TellAfter tell(long_wait_, on_long_wait);
  if (!first && !lock(*turn, LOCK_EX)) return fail_errno("wait for the turn of this start");
  for (;;) {
    auto slot = try_slots();
    if (!slot) return std::unexpected(slot.error());
    if (*slot) return StartSlot(std::move(**slot), true);
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<StartSlot> StartSlots::take_in_background(const std::string& made, bool& awaited) const {
  auto turn = open_file("turn-background");
  if (!turn) return std::unexpected(turn.error());
  if (!lock(*turn, LOCK_EX)) return fail_errno("wait for the turn of this template");
  for (;;) {
    auto wanted = is_held("want-" + made);
    if (!wanted) return std::unexpected(wanted.error());
    awaited = *wanted;
    auto others = is_held("turn");
    if (!others) return std::unexpected(others.error());
    if (awaited || !*others) {
      auto slot = try_slots();
      if (!slot) return std::unexpected(slot.error());
      if (*slot) {
        StartSlot taken(std::move(**slot), false);
        taken.turn_ = std::move(*turn);
        // Those that wait have been heard; a name that stays says nothing without its lock.
        [[maybe_unused]] const auto removed = folder_.remove("want-" + made);
        return taken;
      }
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<unsigned> boots_at_once() {
  const char* named = std::getenv("THIMBLE_BOOTS");
  if (named == nullptr || *named == '\0') {
    cpu_set_t ours;
    const bool known = ::sched_getaffinity(0, sizeof ours, &ours) == 0;
    return std::max(known ? static_cast<unsigned>(CPU_COUNT(&ours)) : 2U, 2U);
  }
  const std::string_view value(named);
  if (value == "off") return 0;
  unsigned count = 0;
  const auto [end, code] = std::from_chars(value.begin(), value.end(), count);
  if (code == std::errc() && end == value.end() && count >= 1 && count <= kMostBoots) return count;
  return fail("THIMBLE_BOOTS=" + std::string(value) +
              ": write how many VMs may boot at once (1 to 1024), or off");
}

}  // namespace thimble
