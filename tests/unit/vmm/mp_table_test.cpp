// The MP table read back as a kernel reads it.
#include "vmm/load/mp_table.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "devices/ioapic.h"
#include "tests/unit/vmm/test_memory.h"

namespace thimble {
namespace {

constexpr size_t kHeaderSize = 44;
constexpr uint8_t kProcessor = 0;

struct Parsed {
  std::map<uint8_t, std::vector<std::vector<uint8_t>>> entries;  // by type
  uint16_t counted = 0;
};

uint8_t sum(std::span<const uint8_t> bytes) {
  return static_cast<uint8_t>(std::accumulate(bytes.begin(), bytes.end(), 0U));
}

class MpTableTest : public testing::TestWithParam<unsigned> {
 protected:
  // The floating pointer is looked for in steps of 16 bytes, as kernels do.
  [[nodiscard]] Gpa find_pointer() const {
    for (Gpa at = map::kMpTable; at < map::kBaseMemoryEnd; at += 16) {
      if (std::memcmp(guest_.memory.at(at, 4), "_MP_", 4) == 0) return at;
    }
    return 0;
  }
  [[nodiscard]] std::span<const uint8_t> bytes(Gpa at, size_t size) const {
    return {guest_.memory.at(at, size), size};
  }

  void parse(Parsed& parsed) const {
    const Gpa pointer = find_pointer();
    ASSERT_NE(pointer, 0U);
    EXPECT_EQ(sum(bytes(pointer, 16)), 0);
    const Gpa table = guest_.memory.load<uint32_t>(pointer + 4).value();
    ASSERT_EQ(std::memcmp(guest_.memory.at(table, 4), "PCMP", 4), 0);
    const auto length = guest_.memory.load<uint16_t>(table + 4).value();
    ASSERT_LE(table + length, map::kBaseMemoryEnd);
    EXPECT_EQ(sum(bytes(table, length)), 0);
    EXPECT_EQ(guest_.memory.load<uint32_t>(table + 36), 0xfee00000U);
    parsed.counted = guest_.memory.load<uint16_t>(table + 34).value();
    for (size_t at = kHeaderSize; at < length;) {
      const uint8_t type = bytes(table + at, 1)[0];
      const size_t size = type == kProcessor ? 20 : 8;
      const auto entry = bytes(table + at, size);
      parsed.entries[type].emplace_back(entry.begin(), entry.end());
      at += size;
      ASSERT_LE(at, length);
    }
  }

  test::TestMemory guest_{16 << 20};
};

TEST_P(MpTableTest, ChecksumsHoldAndEveryProcessorIsListedOnce) {
  const unsigned vcpus = GetParam();
  ASSERT_TRUE(write_mp_table(guest_.memory, vcpus));
  Parsed parsed;
  ASSERT_NO_FATAL_FAILURE(parse(parsed));
  size_t total = 0;
  for (const auto& [type, entries] : parsed.entries) total += entries.size();
  EXPECT_EQ(parsed.counted, total);

  const auto& processors = parsed.entries[kProcessor];
  ASSERT_EQ(processors.size(), vcpus);
  for (unsigned cpu = 0; cpu < vcpus; ++cpu) {
    EXPECT_EQ(processors[cpu][1], cpu);               // local APIC id
    EXPECT_EQ(processors[cpu][3], cpu == 0 ? 3 : 1);  // enabled; the first one boots
  }
}

TEST_P(MpTableTest, EveryIoApicPinHasTheIsaInterruptOfItsNumber) {
  const unsigned vcpus = GetParam();
  ASSERT_TRUE(write_mp_table(guest_.memory, vcpus));
  Parsed parsed;
  ASSERT_NO_FATAL_FAILURE(parse(parsed));
  ASSERT_EQ(parsed.entries[1].size(), 1U);
  EXPECT_EQ(std::memcmp(parsed.entries[1][0].data() + 2, "ISA   ", 6), 0);
  ASSERT_EQ(parsed.entries[2].size(), 1U);
  const auto& ioapic = parsed.entries[2][0];
  EXPECT_EQ(ioapic[1], vcpus);  // an id that no processor has
  uint32_t address = 0;
  std::memcpy(&address, ioapic.data() + 4, sizeof(address));
  EXPECT_EQ(address, IoApic::kBase);
  ASSERT_EQ(parsed.entries[3].size(), kIoApicPins);
  for (unsigned pin = 0; pin < kIoApicPins; ++pin) {
    const auto& entry = parsed.entries[3][pin];
    EXPECT_EQ(entry[5], pin);    // ISA interrupt
    EXPECT_EQ(entry[6], vcpus);  // to our IOAPIC
    EXPECT_EQ(entry[7], pin);
  }
}

INSTANTIATE_TEST_SUITE_P(Processors, MpTableTest, testing::Values(1U, 2U, 8U));

TEST(MpTableMemoryTest, MemoryWithoutItsPlaceIsRefused) {
  std::vector<uint8_t> small(0x9000);
  const GuestMemory memory({{.base = 0, .size = small.size(), .host = small.data()}});
  EXPECT_FALSE(write_mp_table(memory, 1));
}

}  // namespace
}  // namespace thimble
