// Sets KVM's clock up as Linux does and waits until the host says in it that the guest was stopped:
// that flag is what keeps Linux's watchdog from reporting a soft lockup after a pause.
#include "payload.h"

namespace {

constexpr uint32_t kSystemTime = 0x4b564d01;
constexpr uint8_t kGuestStopped = 1 << 1;

// struct pvclock_vcpu_time_info (Documentation/virt/kvm/x86/msr.rst)
struct alignas(64) VcpuTime {
  uint32_t version;
  uint32_t pad;
  uint64_t tsc_timestamp;
  uint64_t system_time;
  uint32_t multiplier;
  int8_t shift;
  uint8_t flags;
  uint8_t pad2[2];
};

volatile VcpuTime vcpu_time;

void write_msr(uint32_t index, uint64_t value) {
  asm volatile("wrmsr" ::"c"(index), "a"(static_cast<uint32_t>(value)),
               "d"(static_cast<uint32_t>(value >> 32)));
}

}  // namespace

extern "C" [[noreturn]] void _start() {
  write_msr(kSystemTime, reinterpret_cast<uint64_t>(&vcpu_time) | 1);
  payload::print("armed\n");
  while ((vcpu_time.flags & kGuestStopped) == 0) {
    // Each access to a port leaves the guest: KVM brings its clock up to date on the way back.
    payload::in8(payload::kSerial + 5);
  }
  payload::print("told\n");
  payload::power_off();
}
