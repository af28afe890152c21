// See reset_vector.h.
#include "vmm/load/reset_vector.h"

#include <array>

#include "devices/power.h"
#include "vmm/memory_map.h"

namespace thimble {

Result<void> write_reset_vector(const GuestMemory& memory) {
  static_assert(PowerPort::kResetControlPort == 0xcf9);
  constexpr std::array<uint8_t, 9> kCode = {
      0xb0, 0x06,        // mov al, 6: reset CPU and system
      0xba, 0xf9, 0x0c,  // mov dx, 0xcf9
      0xee,              // out dx, al
      0xf4,              // hlt
      0xeb, 0xfd,        // jmp to the hlt
  };
  if (!memory.store(map::kResetVector, kCode)) return fail("reset vector: outside guest memory");
  return {};
}

}  // namespace thimble
