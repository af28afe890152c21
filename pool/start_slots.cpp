// See start_slots.h.
#include "pool/start_slots.h"

#include <fcntl.h>
#include <sched.h>
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

#include "devices/base/file_lock.h"

namespace thimble {

namespace {

constexpr std::chrono::milliseconds kLookAgain{20};
constexpr std::chrono::milliseconds kLookForTemplate{50};
constexpr unsigned kMaxBoots = 1024;
constexpr const char* kMaking = "making";
constexpr size_t kLongestName = 256;

// False when somebody else has it, or when it cannot be had at all.
bool lock(const Fd& file, LockKind kind) {
  return lock_file(file.get(), kind, "a turn").value_or(false);
}

// Calls `tell` unless it is destroyed before. By a thread, since a flock() that is interrupted
// loses its place among those that wait.
class TellAfter {
 public:
  TellAfter(std::chrono::milliseconds timeout, const std::function<void()>& tell)
      : thread_([this, timeout, &tell](const std::stop_token& stop) {
          std::unique_lock lock(mutex_);
          const bool ended =
              ended_.wait_for(lock, stop, timeout, [&stop] { return stop.stop_requested(); });
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
  for (Fd* file : {&making_, &slot_, &turn_}) {
    if (*file) unlock_file(file->get());
    file->reset();
  }
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
    if (lock(*slot, {})) return std::move(*slot);
  }
  return std::nullopt;
}

// Looked at with the lock that leaves others who look undisturbed, where its holders have the
// other.
Result<bool> StartSlots::is_held(const std::string& name, bool shared) const {
  auto file = open_file(name);
  if (!file) return std::unexpected(file.error());
  return !lock(*file, {.shared = shared});
}

// The maker, one at a time, names the template before it locks the file.
Result<bool> StartSlots::is_being_made(std::span<const std::string> templates) const {
  if (templates.empty()) return false;
  auto held = is_held(kMaking, true);
  if (!held || !*held) return held;
  const auto made = folder_.content(kMaking, kLongestName);
  return made && std::ranges::find(templates, *made) != templates.end();
}

Result<Fd> StartSlots::say_what_is_made(const std::string& name) const {
  auto file = open_file(kMaking);
  if (!file) return file;
  if (::ftruncate(file->get(), 0) != 0 ||
      ::pwrite(file->get(), name.data(), name.size(), 0) != static_cast<ssize_t>(name.size())) {
    return fail_errno("name the template that is being made");
  }
  if (!lock(*file, {.wait = true}))
    return fail_errno("lock the name of the template that is being made");
  return file;
}

Result<std::vector<Fd>> StartSlots::want(std::span<const std::string> templates) const {
  std::vector<Fd> wants;
  for (const std::string& name : templates) {
    auto file = open_file("want-" + name);
    if (!file) return std::unexpected(file.error());
    lock(*file, {.shared = true, .wait = true});  // who looks holds it for a moment only
    wants.push_back(std::move(*file));
  }
  return wants;
}

Result<void> StartSlots::await_templates(std::span<const std::string> templates) const {
  const auto until = std::chrono::steady_clock::now() + timeouts_.for_template;
  while (std::chrono::steady_clock::now() < until) {
    auto making = is_being_made(templates);
    if (!making) return std::unexpected(making.error());
    if (!*making) return {};
    std::this_thread::sleep_for(kLookForTemplate);
  }
  return {};
}

// `is_next`: it has `turn` already.
Result<Fd> StartSlots::next_slot(std::span<const std::string> wanted, const Fd& turn,
                                 bool is_next) const {
  bool waits_for_template = true;
  for (;;) {
    if (!is_next && !lock(turn, {.wait = true}))
      return fail_errno("wait for the turn of this start");
    is_next = true;
    if (waits_for_template) {
      auto making = is_being_made(wanted);
      if (!making) return std::unexpected(making.error());
      if (*making) {
        unlock_file(turn.get());
        is_next = waits_for_template = false;
        if (auto over = await_templates(wanted); !over) return std::unexpected(over.error());
        continue;
      }
    }
    auto slot = try_slots();
    if (!slot) return std::unexpected(slot.error());
    if (*slot) return std::move(**slot);
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<StartSlot> StartSlots::take(std::span<const std::string> wanted,
                                   const std::function<void()>& on_long_wait) const {
  auto turn = open_file("turn");
  if (!turn) return std::unexpected(turn.error());
  const bool first = lock(*turn, {});
  if (first) {
    auto slot = try_slots();
    if (!slot) return std::unexpected(slot.error());
    if (*slot) return StartSlot(std::move(**slot), false);
  }
  const auto wants = want(wanted);
  if (!wants) return std::unexpected(wants.error());
  const TellAfter tell(timeouts_.says_so, on_long_wait);
  auto slot = next_slot(wanted, *turn, first);
  if (!slot) return std::unexpected(slot.error());
  return StartSlot(std::move(*slot), true);
}

Result<Fd> StartSlots::slot_in_background(const std::string& made, bool& awaited,
                                          Fd passed_on) const {
  for (;;) {
    auto wanted = is_held("want-" + made, false);
    if (!wanted) return std::unexpected(wanted.error());
    awaited = *wanted;
    if (awaited && passed_on) return passed_on;
    passed_on.reset();
    auto others = is_held("turn", false);
    if (!others) return std::unexpected(others.error());
    if (awaited || !*others) {
      auto slot = try_slots();
      if (!slot) return std::unexpected(slot.error());
      if (*slot) return std::move(**slot);
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<StartSlot> StartSlots::take_in_background(const std::string& made, bool& awaited,
                                                 Fd passed_on) const {
  auto turn = open_file("turn-background");
  if (!turn) return std::unexpected(turn.error());
  if (!lock(*turn, {})) {
    passed_on.reset();  // others have more use for it meanwhile
    if (!lock(*turn, {.wait = true})) return fail_errno("wait for the turn of this template");
  }
  auto slot = slot_in_background(made, awaited, std::move(passed_on));
  if (!slot) return std::unexpected(slot.error());
  StartSlot taken(std::move(*slot), false);
  taken.turn_ = std::move(*turn);
  auto making = say_what_is_made(made);
  if (!making) return std::unexpected(making.error());
  taken.making_ = std::move(*making);
  // Those that wait have been heard; a name that stays says nothing without its lock.
  [[maybe_unused]] const auto removed = folder_.remove("want-" + made);
  return taken;
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
  if (code == std::errc() && end == value.end() && count >= 1 && count <= kMaxBoots) return count;
  return fail("THIMBLE_BOOTS=" + std::string(value) +
              ": write how many VMs may boot at once (1 to 1024), or off");
}

}  // namespace thimble
