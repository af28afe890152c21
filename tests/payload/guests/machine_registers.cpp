// Frozen with a value in every register that an operating system keeps something in: FPU, vector
// registers, MSRs, debug registers, task priority. All are found again.
#include "pending.h"

using namespace payload;

extern "C" void payload::on_nmi() {}

namespace {

struct Msr {
  uint32_t index;
  uint64_t value;
  const char* name;
};
// AMD keeps 32 bits of SYSENTER_ESP and _EIP, and KVM does as the guest's vendor does.
constexpr Msr kMsrs[] = {
    {0x174, 0x10, "SYSENTER_CS"},
    {0x175, 0x80001000, "SYSENTER_ESP"},
    {0x176, 0x80002000, "SYSENTER_EIP"},
    {0xc0000081, 0x0023001000000000, "STAR"},
    {0xc0000082, 0xffff800000003000, "LSTAR"},
    {0xc0000084, 0x47700, "SFMASK"},
    {0xc0000102, 0xffff800000004000, "KERNEL_GS_BASE"},
    {0xc0000100, 0x00007f0000005000, "FS_BASE"},
    {0xc0000101, 0x00007f0000006000, "GS_BASE"},
    {0x277, 0x0007040600070406, "PAT"},
};

alignas(16) uint8_t pattern[16][16];
alignas(16) uint8_t found[16][16];

template <int N>
void load_vector() {
  asm volatile("movups (%0), %%xmm%c1" ::"r"(pattern[N]), "i"(N));
}
template <int N>
void store_vector() {
  asm volatile("movups %%xmm%c1, (%0)" ::"r"(found[N]), "i"(N) : "memory");
}
template <int... N>
void all_vectors(bool load) {
  if (load) {
    (load_vector<N>(), ...);
  } else {
    (store_vector<N>(), ...);
  }
}

void enable_vectors() {
  uint64_t cr0;
  uint64_t cr4;
  asm volatile("mov %%cr0, %0" : "=r"(cr0));
  asm volatile("mov %0, %%cr0" ::"r"((cr0 & ~0xcULL) | 2));  // EM, TS off; MP
  asm volatile("mov %%cr4, %0" : "=r"(cr4));
  asm volatile("mov %0, %%cr4" ::"r"(cr4 | 0x600));  // OSFXSR, OSXMMEXCPT
}

}  // namespace

void _start() {
  set_up_pending();
  enable_vectors();
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) pattern[i][j] = static_cast<uint8_t>(16 * i + j + 1);
  }
  all_vectors<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>(true);
  for (const Msr& msr : kMsrs) write_msr(msr.index, msr.value);
  asm volatile("mov %0, %%dr0" ::"r"(0x123456789aULL));
  asm volatile("mov %0, %%dr3" ::"r"(0xabcdef0123ULL));
  write32(kLocalApic + 0x80, 0x30);
  const uint64_t before = read_tsc();

  wait_for_key();

  all_vectors<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>(false);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) check(found[i][j] == pattern[i][j], "vector registers");
  }
  for (const Msr& msr : kMsrs) check(read_msr(msr.index) == msr.value, msr.name);
  uint64_t debug = 0;
  asm volatile("mov %%dr0, %0" : "=r"(debug));
  check(debug == 0x123456789aULL, "DR0");
  asm volatile("mov %%dr3, %0" : "=r"(debug));
  check(debug == 0xabcdef0123ULL, "DR3");
  check(read32(kLocalApic + 0x80) == 0x30, "task priority");
  check(read_tsc() > before, "the time stamp counter goes on");
  print("ok\n");
  power_off();
}
