// Boots of one user's VMs take turns: so many at once as the machine can do, and the others in the
// order in which they came. A boot is work for a processor; fifty at once make all fifty late.
//
// Processes know nothing of each other but files in a folder of the user's, each locked (flock) by
// who holds it; the lock goes with its process, however that ends:
//   slot-0, slot-1, …  one for each boot that goes on
//   turn               by the start that is next: the others wait in the kernel's queue
//   turn-background    the same of templates that are made for later
//   want-NAME          shared by starts that wait and could be clones of template NAME
//   making             by the maker of the template that it names, from its turn to its end
// Only the two that are next look again and again whether a slot is free. A start that waits and
// whose template is being made leaves the others' way and waits for that instead: a clone is
// quicker than a boot, and fifty of them are much quicker.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

// Held from before the VM is started until its server runs, or the VM has ended.
class StartSlot {
 public:
  StartSlot() = default;
  StartSlot(Fd slot, bool waited) : slot_(std::move(slot)), waited_(waited) {}
  StartSlot(StartSlot&&) noexcept = default;
  StartSlot& operator=(StartSlot&&) noexcept = default;
  StartSlot(const StartSlot&) = delete;
  ~StartSlot() { release(); }

  void release();
  // The lock, for a process that this one is about to start and that goes on in its place: it keeps
  // the slot as long as a copy is open anywhere. None where no turns are taken.
  [[nodiscard]] Fd pass_on() { return std::move(slot_); }
  // Others went before: what was looked for may have been made meanwhile.
  [[nodiscard]] bool waited() const { return waited_; }

 private:
  friend class StartSlots;
  Fd slot_;
  Fd turn_;    // background: one at a time
  Fd making_;  // the same
  bool waited_ = false;
};

class StartSlots {
 public:
  struct Timeouts {
    // When one that waits says so.
    std::chrono::milliseconds says_so = std::chrono::seconds(2);
    // How long a start waits for its template before it boots like others.
    std::chrono::milliseconds for_template = std::chrono::minutes(2);
  };
  // In `folder`. `count`: boots at once.
  StartSlots(OwnedFolder folder, unsigned count) : StartSlots(std::move(folder), count, {}) {}
  StartSlots(OwnedFolder folder, unsigned count, Timeouts timeouts)
      : folder_(std::move(folder)), count_(count), timeouts_(timeouts) {}

  // Waits for a turn. `wanted`: the templates any of which would do instead. `on_long_wait` hears
  // once, when it takes long, in a thread that has ended when this returns.
  Result<StartSlot> take(std::span<const std::string> wanted,
                         const std::function<void()>& on_long_wait) const;

  // For the making of template `made`, one at a time. Yields to all starts that wait, but where
  // they wait for this template: then it goes on in the slot that a start has `passed_on` to it, or
  // takes the next, and `awaited` is set.
  Result<StartSlot> take_in_background(const std::string& made, bool& awaited,
                                       Fd passed_on = {}) const;

 private:
  [[nodiscard]] Result<Fd> open_file(const std::string& name) const;
  [[nodiscard]] Result<std::optional<Fd>> try_slots() const;
  [[nodiscard]] Result<bool> is_held(const std::string& name, bool shared) const;
  [[nodiscard]] Result<bool> is_being_made(std::span<const std::string> templates) const;
  [[nodiscard]] Result<Fd> say_what_is_made(const std::string& name) const;
  [[nodiscard]] Result<Fd> slot_in_background(const std::string& made, bool& awaited,
                                              Fd passed_on) const;
  [[nodiscard]] Result<std::vector<Fd>> want(std::span<const std::string> templates) const;
  [[nodiscard]] Result<void> await_templates(std::span<const std::string> templates) const;
  [[nodiscard]] Result<Fd> next_slot(std::span<const std::string> wanted, const Fd& turn,
                                     bool is_next) const;

  OwnedFolder folder_;
  unsigned count_;
  Timeouts timeouts_;
};

// $THIMBLE_BOOTS ("off": 0, no turns are taken), or as many as there are processors, two at least.
Result<unsigned> boots_at_once();

}  // namespace thimble
