// See cpu_features.h. Bits: Intel SDM 2A, CPUID; AMD APM 3, appendix E; KVM's own leaf in
// Documentation/virt/kvm/x86/cpuid.rst.
#include "vmm/snapshot/cpu_features.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "devices/text.h"

namespace thimble {

namespace {

enum Register : uint8_t { kEax, kEbx, kEcx, kEdx };
constexpr std::array kRegisterNames = {"EAX", "EBX", "ECX", "EDX"};

constexpr uint32_t kTscDeadline = 1U << 24;  // leaf 1 ECX

// Registers whose bits are features. `ours`: bits that the VMM or the guest sets, whatever the
// host.
struct FeatureWord {
  uint32_t leaf;
  uint32_t index;
  Register reg;
  uint32_t ours;
};
constexpr std::array kWords = {
    FeatureWord{0x1, 0, kEcx, 1U << 31 | 1U << 27 | kTscDeadline},  // hypervisor, OSXSAVE
    FeatureWord{0x1, 0, kEdx, 1U << 28},                            // hyper-threading
    FeatureWord{0x7, 0, kEbx, 0},
    FeatureWord{0x7, 0, kEcx, 1U << 4},  // OSPKE
    FeatureWord{0x7, 0, kEdx, 0},
    FeatureWord{0x7, 1, kEax, 0},
    FeatureWord{0x7, 1, kEdx, 0},
    FeatureWord{0x7, 2, kEdx, 0},
    FeatureWord{0xd, 0, kEax, 0},  // XCR0
    FeatureWord{0xd, 0, kEdx, 0},
    FeatureWord{0xd, 1, kEax, 0},
    FeatureWord{0xd, 1, kEcx, 0},  // XSS
    FeatureWord{0x80000001, 0, kEcx, 0},
    FeatureWord{0x80000001, 0, kEdx, 0},
    FeatureWord{0x80000007, 0, kEdx, 0},
    FeatureWord{0x80000008, 0, kEbx, 0},
    FeatureWord{0x8000000a, 0, kEdx, 0},
    FeatureWord{0x80000021, 0, kEax, 0},
    FeatureWord{0x40000001, 0, kEax, 0},
};

struct Named {
  uint32_t leaf;
  uint32_t index;
  Register reg;
  unsigned bit;
  const char* name;
};
constexpr std::array kNames = {
    Named{0x1, 0, kEcx, 0, "SSE3"},
    Named{0x1, 0, kEcx, 9, "SSSE3"},
    Named{0x1, 0, kEcx, 12, "FMA"},
    Named{0x1, 0, kEcx, 13, "CMPXCHG16B"},
    Named{0x1, 0, kEcx, 19, "SSE4.1"},
    Named{0x1, 0, kEcx, 20, "SSE4.2"},
    Named{0x1, 0, kEcx, 22, "MOVBE"},
    Named{0x1, 0, kEcx, 23, "POPCNT"},
    Named{0x1, 0, kEcx, 25, "AES"},
    Named{0x1, 0, kEcx, 26, "XSAVE"},
    Named{0x1, 0, kEcx, 28, "AVX"},
    Named{0x1, 0, kEcx, 29, "F16C"},
    Named{0x1, 0, kEcx, 30, "RDRAND"},
    Named{0x7, 0, kEbx, 3, "BMI1"},
    Named{0x7, 0, kEbx, 5, "AVX2"},
    Named{0x7, 0, kEbx, 8, "BMI2"},
    Named{0x7, 0, kEbx, 16, "AVX512F"},
    Named{0x7, 0, kEbx, 18, "RDSEED"},
    Named{0x7, 0, kEbx, 19, "ADX"},
    Named{0x7, 0, kEbx, 20, "SMAP"},
    Named{0x7, 0, kEbx, 29, "SHA"},
    Named{0x7, 0, kEbx, 30, "AVX512BW"},
    Named{0x7, 0, kEbx, 31, "AVX512VL"},
    Named{0x7, 0, kEcx, 8, "GFNI"},
    Named{0x7, 0, kEcx, 9, "VAES"},
    Named{0x7, 0, kEcx, 22, "RDPID"},
    Named{0x7, 0, kEdx, 24, "AMX-TILE"},
    Named{0x7, 1, kEax, 4, "AVX-VNNI"},
    Named{0x80000001, 0, kEcx, 5, "ABM"},
    Named{0x80000001, 0, kEcx, 6, "SSE4A"},
    Named{0x80000001, 0, kEdx, 26, "1 GiB pages"},
    Named{0x80000001, 0, kEdx, 27, "RDTSCP"},
    Named{0x80000007, 0, kEdx, 8, "invariant TSC"},
};

std::array<uint32_t, 4> registers(std::span<const kvm_cpuid_entry2> table, uint32_t leaf,
                                  uint32_t index) {
  for (const kvm_cpuid_entry2& entry : table) {
    const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    if (entry.function == leaf && (!indexed || entry.index == index)) {
      return {entry.eax, entry.ebx, entry.ecx, entry.edx};
    }
  }
  return {};
}

std::string describe(const FeatureWord& word, unsigned bit) {
  std::string place =
      text("CPUID %#x.%u %s bit %u", word.leaf, word.index, kRegisterNames[word.reg], bit);
  for (const Named& named : kNames) {
    if (named.leaf == word.leaf && named.index == word.index && named.reg == word.reg &&
        named.bit == bit) {
      return text("%s (%s)", named.name, place.c_str());
    }
  }
  return place;
}

}  // namespace

std::string cpu_vendor(std::span<const kvm_cpuid_entry2> table) {
  const auto leaf = registers(table, 0, 0);
  std::string vendor;
  for (const Register reg : {kEbx, kEdx, kEcx}) {
    for (unsigned byte = 0; byte < 4; ++byte) {
      const auto letter = static_cast<char>(leaf[reg] >> (8 * byte));
      vendor += letter >= ' ' && letter < 0x7f ? letter : '?';
    }
  }
  return vendor;
}

Result<void> check_cpu_features(std::span<const kvm_cpuid_entry2> saved,
                                std::span<const kvm_cpuid_entry2> host, bool tsc_deadline) {
  if (cpu_vendor(saved) != cpu_vendor(host)) {
    return fail(text("the snapshot was made on a CPU by %s, this host's is by %s",
                     cpu_vendor(saved).c_str(), cpu_vendor(host).c_str()));
  }
  const auto lacks = [](const std::string& feature) {
    return fail("the snapshot's guest uses a CPU feature that this host lacks: " + feature);
  };
  if ((registers(saved, 0x1, 0)[kEcx] & kTscDeadline) != 0 && !tsc_deadline) {
    return lacks("the TSC deadline timer");
  }
  for (const FeatureWord& word : kWords) {
    const uint32_t wanted = registers(saved, word.leaf, word.index)[word.reg] & ~word.ours;
    const uint32_t missing = wanted & ~registers(host, word.leaf, word.index)[word.reg];
    if (missing != 0)
      return lacks(describe(word, static_cast<unsigned>(std::countr_zero(missing))));
  }
  return {};
}

}  // namespace thimble
