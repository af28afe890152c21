// The VM generation ID (Microsoft, "Virtual Machine Generation ID"): 16 random bytes in guest
// memory that change whenever the guest may have become two, as after a clone. A kernel that sees
// new bytes reseeds its random numbers. ACPI says where the bytes lie, and its event device's
// interrupt says that they changed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "devices/guest_memory.h"
#include "devices/irq_line.h"
#include "devices/result.h"
#include "devices/state.h"

namespace thimble {

struct VmGenIdState {
  std::array<uint8_t, 16> id{};
  void describe(StateVisitor& visitor);
};

// Used by one thread at a time.
class VmGenId {
 public:
  using Id = std::array<uint8_t, 16>;

  // The first id is drawn at once. `memory` and `changed` outlive the object.
  static Result<std::unique_ptr<VmGenId>> create(const GuestMemory& memory, Gpa address,
                                                 IrqLine& changed);

  // Draws another id, writes it and interrupts the guest. After a restore: before the vCPUs run, so
  // that the guest never computes with the id of another.
  Result<void> change();

  [[nodiscard]] const Id& id() const { return state_.id; }

  // restore() takes over the id of the saved machine, without an interrupt; change() comes after
  // it.
  VmGenIdState save() const { return state_; }
  Result<void> restore(const VmGenIdState& state);

 private:
  VmGenId(const GuestMemory& memory, Gpa address, IrqLine& changed)
      : memory_(memory), address_(address), changed_(changed) {}
  Result<void> draw();
  Result<void> write();

  const GuestMemory& memory_;
  Gpa address_;
  IrqLine& changed_;
  VmGenIdState state_;
};

}  // namespace thimble
