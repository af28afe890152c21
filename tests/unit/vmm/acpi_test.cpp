// The ACPI tables read back as a kernel reads them, the encodings of AML, and all of it through
// iasl, the reference compiler's disassembler, where it is installed.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <fstream>
#include <numeric>
#include <sstream>

#include "devices/ioapic.h"
#include "tests/unit/vmm/test_memory.h"
#include "vmm/acpi/aml.h"
#include "vmm/acpi/tables.h"
#include "vmm/load/reset_vector.h"

namespace thimble {
namespace {

using aml::Bytes;

TEST(AmlTest, LengthsCountThemselvesInOneToFourBytes) {
  EXPECT_EQ(aml::package_length(0), (Bytes{1}));
  EXPECT_EQ(aml::package_length(62), (Bytes{63}));
  EXPECT_EQ(aml::package_length(63), (Bytes{0x41, 0x04}));             // 65
  EXPECT_EQ(aml::package_length(0xffd), (Bytes{0x4f, 0xff}));          // 4095
  EXPECT_EQ(aml::package_length(0xffe), (Bytes{0x81, 0x00, 0x01}));    // 4097
  EXPECT_EQ(aml::package_length(0xffffc), (Bytes{0x8f, 0xff, 0xff}));  // 2^20 - 1
  EXPECT_EQ(aml::package_length(0xffffd), (Bytes{0xc1, 0x00, 0x00, 0x01}));
}

TEST(AmlTest, IntegersTakeTheShortestForm) {
  EXPECT_EQ(aml::integer(0), (Bytes{0x00}));
  EXPECT_EQ(aml::integer(1), (Bytes{0x01}));
  EXPECT_EQ(aml::integer(2), (Bytes{0x0a, 2}));
  EXPECT_EQ(aml::integer(0x100), (Bytes{0x0b, 0x00, 0x01}));
  EXPECT_EQ(aml::integer(0xd0000000), (Bytes{0x0c, 0, 0, 0, 0xd0}));
  EXPECT_EQ(aml::integer(1ULL << 32), (Bytes{0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST(AmlTest, NamesArePaddedAndPathsSayHowManySegmentsTheyHave) {
  EXPECT_EQ(aml::path("GED"), (Bytes{'G', 'E', 'D', '_'}));
  EXPECT_EQ(aml::path("\\_S5"), (Bytes{'\\', '_', 'S', '5', '_'}));
  EXPECT_EQ(aml::path("\\_SB.VGEN"), (Bytes{'\\', 0x2e, '_', 'S', 'B', '_', 'V', 'G', 'E', 'N'}));
  EXPECT_EQ(aml::path("A.B.C").front(), 0x2f);
  EXPECT_EQ(aml::path("A.B.C")[1], 3);
}

TEST(AmlTest, EisaIdsArePacked) {
  EXPECT_EQ(aml::eisa_id("PNP0501"), (Bytes{0x0c, 0x41, 0xd0, 0x05, 0x01}));
}

TEST(AmlTest, InterruptsAreEdgeTriggeredActiveHighAndExclusive) {
  EXPECT_EQ(aml::edge_interrupt(5), (Bytes{0x89, 6, 0, 0x03, 1, 5, 0, 0, 0}));
}

struct Table {
  std::string signature;
  std::span<const uint8_t> bytes;
};

class AcpiTest : public testing::TestWithParam<unsigned> {
 protected:
  AcpiTest() {
    const auto written =
        write_acpi_tables(guest_.memory, {.vcpus = GetParam(), .virtio_slots = kSlots});
    EXPECT_TRUE(written) << written.error().message;
    root_ = written.value_or(0);
  }

  static uint8_t sum(std::span<const uint8_t> bytes) {
    return static_cast<uint8_t>(std::accumulate(bytes.begin(), bytes.end(), 0U));
  }
  [[nodiscard]] std::span<const uint8_t> bytes(Gpa at, size_t size) const {
    return {guest_.memory.at(at, size), size};
  }
  template <class T>
  [[nodiscard]] T load(Gpa at) const {
    return guest_.memory.load<T>(at).value();
  }

  // Checks what every table has in common.
  [[nodiscard]] Table table(Gpa at) const {
    const auto length = load<uint32_t>(at + 4);
    EXPECT_LE(at + length, map::kVmGenId);
    const auto raw = bytes(at, length);
    EXPECT_EQ(sum(raw), 0);
    return {std::string(reinterpret_cast<const char*>(raw.data()), 4), raw};
  }
  [[nodiscard]] std::vector<Gpa> entries() const {
    const Gpa xsdt = load<uint64_t>(root_ + 24);
    std::vector<Gpa> out;
    for (Gpa at = xsdt + 36; at < xsdt + load<uint32_t>(xsdt + 4); at += 8) {
      out.push_back(load<uint64_t>(at));
    }
    return out;
  }
  [[nodiscard]] Gpa find(const std::string& signature) const {
    for (const Gpa at : entries()) {
      if (table(at).signature == signature) return at;
    }
    ADD_FAILURE() << "no " << signature;
    return 0;
  }

  static constexpr size_t kSlots = 3;
  test::TestMemory guest_{16 << 20};
  Gpa root_ = 0;
};

TEST_P(AcpiTest, RootPointerIsWhereKernelsLookAndItsChecksumsHold) {
  EXPECT_EQ(root_ % 16, 0U);
  EXPECT_GE(root_, 0xe0000U);
  EXPECT_EQ(std::memcmp(guest_.memory.at(root_, 8), "RSD PTR ", 8), 0);
  EXPECT_EQ(load<uint8_t>(root_ + 15), 2);
  EXPECT_EQ(sum(bytes(root_, 20)), 0);
  EXPECT_EQ(sum(bytes(root_, 36)), 0);
  EXPECT_EQ(table(load<uint64_t>(root_ + 24)).signature, "XSDT");
}

TEST_P(AcpiTest, EveryTableHasItsChecksum) {
  std::vector<std::string> signatures;
  for (const Gpa at : entries()) signatures.push_back(table(at).signature);
  EXPECT_EQ(signatures, (std::vector<std::string>{"FACP", "APIC"}));
  EXPECT_EQ(table(load<uint64_t>(find("FACP") + 140)).signature, "DSDT");
}

TEST_P(AcpiTest, FadtIsHardwareReducedAndNamesSleepAndResetRegisters) {
  const Gpa fadt = find("FACP");
  const auto flags = load<uint32_t>(fadt + 112);
  EXPECT_NE(flags & (1U << 20), 0U);  // hardware-reduced
  EXPECT_NE(flags & (1U << 10), 0U);  // has a reset register
  EXPECT_EQ(load<uint64_t>(fadt + 116 + 4), 0xcf9U);
  EXPECT_EQ(load<uint8_t>(fadt + 128), 6);
  EXPECT_EQ(load<uint64_t>(fadt + 244 + 4), 0x600U);
  EXPECT_EQ(load<uint64_t>(fadt + 256 + 4), 0x601U);
  const auto boot_flags = load<uint16_t>(fadt + 109);
  EXPECT_EQ(boot_flags & 0x2, 0);   // no keyboard controller to probe
  EXPECT_NE(boot_flags & 0x20, 0);  // no CMOS clock either
  EXPECT_EQ(load<uint32_t>(fadt + 40), load<uint64_t>(fadt + 140));
}

TEST_P(AcpiTest, MadtListsEveryProcessorOnceAndTheIoApicAndNoPics) {
  const Gpa madt = find("APIC");
  EXPECT_EQ(load<uint32_t>(madt + 36), 0xfee00000U);
  EXPECT_EQ(load<uint32_t>(madt + 40) & 1, 0U);
  std::vector<uint8_t> ids;
  unsigned ioapics = 0;
  for (Gpa at = madt + 44; at < madt + load<uint32_t>(madt + 4); at += load<uint8_t>(at + 1)) {
    const auto type = load<uint8_t>(at);
    ASSERT_NE(load<uint8_t>(at + 1), 0);
    if (type == 0) {
      EXPECT_EQ(load<uint32_t>(at + 4), 1U);
      ids.push_back(load<uint8_t>(at + 3));
    }
    if (type == 1) {
      ++ioapics;
      EXPECT_EQ(load<uint32_t>(at + 4), IoApic::kBase);
      EXPECT_EQ(load<uint32_t>(at + 8), 0U);
    }
  }
  std::vector<uint8_t> expected(GetParam());
  std::iota(expected.begin(), expected.end(), uint8_t{0});
  EXPECT_EQ(ids, expected);
  EXPECT_EQ(ioapics, 1U);
}

std::string disassembled(std::span<const uint8_t> table) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "table.dat", std::ios::binary)
      .write(reinterpret_cast<const char*>(table.data()), static_cast<long>(table.size()));
  const std::string command =
      "cd " + (folder / ".") + " && iasl -d table.dat >said 2>&1 && iasl -vs table.dsl >>said 2>&1";
  if (WEXITSTATUS(std::system(command.c_str())) != 0) {
    std::stringstream said;
    said << std::ifstream(folder / "said").rdbuf();
    ADD_FAILURE() << said.str();
  }
  std::stringstream text;
  text << std::ifstream(folder / "table.dsl").rdbuf();
  return text.str();
}

TEST_P(AcpiTest, TheReferenceDisassemblerReadsTheDevicesAsMeant) {
  if (std::system("command -v iasl >/dev/null") != 0) GTEST_SKIP() << "iasl is not installed";
  const std::string text = disassembled(table(load<uint64_t>(find("FACP") + 140)).bytes);
  for (const char* part : {"Device (VR00)", "Device (VR02)", "\"LNRO0005\"", "EisaId (\"PNP0501\")",
                           "\"VM_Gen_Counter\"", "\"ACPI0013\"", "Notify (\\_SB.VGEN, 0x80)",
                           "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )",
                           "0xD0002000", "Name (\\_S5"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
  }
  EXPECT_EQ(text.find("Device (VR03)"), std::string::npos);
  const std::string fadt = disassembled(table(find("FACP")).bytes);
  EXPECT_NE(fadt.find("Hardware Reduced (V5) : 1"), std::string::npos) << fadt;
}

INSTANTIATE_TEST_SUITE_P(Processors, AcpiTest, testing::Values(1U, 2U, 8U));

TEST(ResetVectorTest, AJumpToWhereABiosWouldStartFindsAWriteToTheResetRegister) {
  test::TestMemory guest(16 << 20);
  ASSERT_TRUE(write_reset_vector(guest.memory));
  const std::array<uint8_t, 6> start = {0xb0, 0x06, 0xba, 0xf9, 0x0c, 0xee};
  EXPECT_EQ((guest.memory.load<std::array<uint8_t, 6>>(0xffff0)), start);
  EXPECT_TRUE(guest.untouched(map::kVmGenId, 0xff0));
}

TEST(AcpiMemoryTest, AsManyDevicesAsAMachineHasRoomForFitAndNoMemoryIsSaid) {
  test::TestMemory guest(16 << 20);
  EXPECT_TRUE(
      write_acpi_tables(guest.memory, {.vcpus = 8, .virtio_slots = map::kMaxVirtioDevices}));
  EXPECT_TRUE(guest.untouched(map::kVmGenId, 0x1000));
  std::vector<uint8_t> small(0xe0000);
  const GuestMemory memory({{.base = 0, .size = small.size(), .host = small.data()}});
  EXPECT_FALSE(write_acpi_tables(memory, {.vcpus = 1, .virtio_slots = 0}));
}

}  // namespace
}  // namespace thimble
