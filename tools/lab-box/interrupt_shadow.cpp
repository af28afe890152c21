// Loaded into the box's QEMU with event_injection.cpp, to mend a third fault of its emulated AMD-V.
// No interrupt may come between STI and the instruction after it, so "sti; hlt" cannot miss the one
// that it waits for. When an interrupt of the box ends a nested guest's run just there, #VMEXIT
// notes the interrupt shadow in the guest's control block, as it should; but VMRUN does not look at
// it. The guest gets its interrupt before the HLT, and then sleeps although nothing is to come: a
// payload guest of ours for ever (1 of 20 runs of timer_once.cpp), Linux until its next timer.
//
// VMRUN loads the guest's EFER after it has entered guest mode, and before it loads RAX, which
// still has the address of the control block. cpu_load_efer() is replaced by a function that does
// the same and, at that point, raises the shadow if the control block has it. Where a CPU keeps
// EFER and its flags is found out by what the original does to a blank one.
#include <cstdio>
#include <vector>

#include "tools/lab-box/qemu_functions.h"

namespace {

using LoadEfer = void(void* env, uint64_t value);
using Load32 = uint32_t (*)(void* cpu, uint64_t address);

// AMD64 Architecture Programmer's Manual, volume 2: 3.1.7 (EFER), appendix B (control block).
constexpr uint64_t kEferLongMode = 1U << 10;
constexpr uint64_t kEferSvm = 1U << 12;
constexpr uint64_t kInterruptShadowAt = 0x68;
constexpr uint32_t kInterruptShadow = 1;
// The hidden flags of target/i386/cpu.h.
constexpr uint32_t kInhibitInterrupts = 1U << 3;
constexpr uint32_t kLongMode = 1U << 14;
constexpr uint32_t kSvm = 1U << 20;
constexpr uint32_t kGuest = 1U << 21;

constexpr uint64_t kPage = 4096;
constexpr size_t kMaxBytes = size_t{16} * 1024;  // of a CPU's state, up to both places

// Bytes from the start of a CPU's registers, of which the first is RAX.
struct Places {
  size_t efer = 0;
  size_t flags = 0;
};

Load32 load32 = nullptr;
Places places;

template <typename Value>
Value get(const void* env, size_t at) {
  Value value;
  std::memcpy(&value, static_cast<const uint8_t*>(env) + at, sizeof value);
  return value;
}

template <typename Value>
void put(void* env, size_t at, Value value) {
  std::memcpy(static_cast<uint8_t*>(env) + at, &value, sizeof value);
}

bool shadow_is_noted(const void* env) {
  const auto control_block = get<uint64_t>(env, 0);
  void* cpu = lab::current_cpu();
  if (cpu == nullptr || control_block % kPage != 0) return false;
  return (load32(cpu, control_block + kInterruptShadowAt) & kInterruptShadow) != 0;
}

// Stands in for cpu_load_efer().
void load_efer(void* env, uint64_t value) {
  put(env, places.efer, value);
  auto flags = get<uint32_t>(env, places.flags) & ~(kLongMode | kSvm);
  if ((value & kEferLongMode) != 0) flags |= kLongMode;
  if ((value & kEferSvm) != 0) flags |= kSvm;
  if ((flags & kGuest) != 0 && shadow_is_noted(env)) flags |= kInhibitInterrupts;
  put(env, places.flags, flags);
}

// False: it does something else than this file knows.
bool find_places(LoadEfer* original) {
  constexpr uint64_t kValue = 0x5a5a'5a5a'0000'0000 | kEferLongMode | kEferSvm;
  std::vector<uint64_t> blank(kMaxBytes / sizeof(uint64_t));
  original(blank.data(), kValue);
  size_t changed = 0;
  for (size_t at = 0; at < kMaxBytes; at += sizeof(uint64_t)) {
    const auto word = get<uint64_t>(blank.data(), at);
    if (word == 0) continue;
    ++changed;
    if (word == kValue) places.efer = at;
    if (word == (kLongMode | kSvm)) places.flags = at;
    if (word == uint64_t{kLongMode | kSvm} << 32) places.flags = at + sizeof(uint32_t);
  }
  return changed == 2 && places.efer != 0 && places.flags != 0;
}

__attribute__((constructor)) void mend() {
  LoadEfer* faulty = nullptr;
  lab::find("cpu_load_efer", faulty);
  lab::find("x86_ldl_phys", load32);
  const bool known = faulty != nullptr && load32 != nullptr && find_places(faulty);
  if (!known || !lab::redirect(faulty, load_efer)) {
    std::fprintf(stderr, "lab: this QEMU's interrupt shadow of nested guests is left as it is\n");
  }
}

}  // namespace
