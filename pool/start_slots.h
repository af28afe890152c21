// Boots of one user's VMs take turns: so many at once as the machine can do, and the others in the
// order in which they came. A boot is work for a processor; fifty at once make all fifty late.
//
// Processes know nothing of each other but files in a folder of the user's, each locked (flock) by
// who holds it; the lock goes with its process, however that ends:
//   slot-0, slot-1, …   one for each boot that goes on
//   turn                held by the start that is next; the others wait for it, in the kernel's
//   queue turn-background     the same of those that nobody waits for want-NAME           shared by
//   the starts that wait and could be clones of template NAME
// Only the two that are next look again and again whether a slot is free.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

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
  // Others went before: what was looked for may have been made meanwhile.
  [[nodiscard]] bool waited() const { return waited_; }

 private:
  friend class StartSlots;
  Fd slot_;
  Fd turn_;  // background: one at a time
  bool waited_ = false;
};

class StartSlots {
 public:
  // In `folder`. `count`: boots at once. `long_wait`: when one that waits says so.
  StartSlots(OwnedFolder folder, unsigned count,
             std::chrono::milliseconds long_wait = std::chrono::seconds(2))
      : folder_(std::move(folder)), count_(count), long_wait_(long_wait) {}

  // Waits for a turn. `wanted`: the template that would do instead, or empty. `on_long_wait` hears
  // once, when it takes long, in a thread that has ended when this returns.
  Result<StartSlot> take(const std::string& wanted,
                         const std::function<void()>& on_long_wait) const;

  // For the making of template `made`, one at a time. Yields to all starts that wait, but where
  // they wait for this template: then it takes the next slot, and `awaited` is set.
  Result<StartSlot> take_in_background(const std::string& made, bool& awaited) const;

 private:
  [[nodiscard]] Result<Fd> open_file(const std::string& name) const;
  [[nodiscard]] Result<std::optional<Fd>> try_slots() const;
  [[nodiscard]] Result<bool> is_held(const std::string& name) const;

  OwnedFolder folder_;
  unsigned count_;
  std::chrono::milliseconds long_wait_;
};

// $THIMBLE_BOOTS ("off": 0, no turns are taken), or as many as there are processors, two at least.
Result<unsigned> boots_at_once();

}  // namespace thimble
