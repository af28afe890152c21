// See vmgenid.h.
#include "devices/vmgenid.h"

#include <sys/random.h>

namespace thimble {

void VmGenIdState::describe(StateVisitor& visitor) { visitor.field("id", id); }

Result<std::unique_ptr<VmGenId>> VmGenId::create(const GuestMemory& memory, Gpa address,
                                                 IrqLine& changed) {
  std::unique_ptr<VmGenId> made(new VmGenId(memory, address, changed));
  if (auto done = made->draw(); !done) return std::unexpected(done.error());
  return made;
}

Result<void> VmGenId::draw() {
  // 16 bytes come whole or not at all (getrandom(2)).
  if (getrandom(state_.id.data(), state_.id.size(), 0) != static_cast<ssize_t>(state_.id.size())) {
    return fail_errno("VM generation ID: getrandom");
  }
  return write();
}

Result<void> VmGenId::write() {
  if (!memory_.store(address_, state_.id)) return fail("VM generation ID: outside guest memory");
  return {};
}

Result<void> VmGenId::change() {
  if (auto done = draw(); !done) return done;
  changed_.pulse();
  return {};
}

Result<void> VmGenId::restore(const VmGenIdState& state) {
  state_ = state;
  return write();
}

}  // namespace thimble
