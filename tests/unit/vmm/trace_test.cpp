// What a trace says about exits, notifications and interrupts, and KVM's statistics files, honest
// and not.
#include "thimble/trace.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "vmm/trace/kvm_stats.h"
#include "vmm/trace/registers.h"
#include "vmm/trace/tracer.h"

namespace thimble {
namespace {

using Kind = TraceEvent::Kind;

class TracerTest : public testing::Test {
 protected:
  TracerTest() : tracer_([this](const TraceEvent& event) { take(event); }) {
    tracer_.name_range(Tracer::Space::kPorts, 0x3f8, 8, "serial", serial_register);
    tracer_.name_range(Tracer::Space::kMmio, 0xd0000000, 0x1000, "virtio-blk vda",
                       virtio_mmio_register);
    tracer_.name_pin(5, "virtio-blk vda");
  }
  void take(const TraceEvent& event) {
    events_.push_back(event);
    const std::string line = trace_line(event);
    lines_.push_back(line.substr(line.find(']') + 2));
    summary_.add(event);
  }
  // A run area with room for data behind it, as KVM maps it.
  kvm_run& area() { return *reinterpret_cast<kvm_run*>(page_.data()); }

  std::vector<uint64_t> page_ = std::vector<uint64_t>(1024);
  std::vector<TraceEvent> events_;
  std::vector<std::string> lines_;
  TraceSummary summary_;
  Tracer tracer_;
};

TEST_F(TracerTest, APortAccessIsNamedByDeviceAndRegister) {
  area().exit_reason = KVM_EXIT_IO;
  area().io.direction = KVM_EXIT_IO_OUT;
  area().io.port = 0x3f8;
  area().io.size = 1;
  area().io.count = 2;  // OUTS: two bytes at once
  area().io.data_offset = 4096;
  auto* data = reinterpret_cast<uint8_t*>(page_.data()) + 4096;
  data[0] = 'h';
  data[1] = 'i';
  tracer_.exit(1, area());
  EXPECT_EQ(lines_, (std::vector<std::string>{"cpu1 out       0x3f8/1 = 0x68  serial THR\n",
                                              "cpu1 out       0x3f8/1 = 0x69  serial THR\n"}));
  area().io.direction = KVM_EXIT_IO_IN;
  area().io.port = 0x1f0;
  area().io.count = 1;
  tracer_.exit(0, area());
  EXPECT_EQ(lines_.back(), "cpu0 in        0x1f0/1 = 0x68  nobody at 0x1f0\n");
}

TEST_F(TracerTest, AnMmioAccessHasValueAndInstruction) {
  area().exit_reason = KVM_EXIT_MMIO;
  area().mmio.phys_addr = 0xd0000070;
  area().mmio.len = 4;
  area().mmio.is_write = 1;
  const uint32_t status = 0xf;
  std::memcpy(area().mmio.data, &status, sizeof(status));
  area().kvm_valid_regs = KVM_SYNC_X86_REGS;
  area().s.regs.regs.rip = 0xffffffff81000000;
  tracer_.exit(0, area());
  EXPECT_EQ(lines_.back(),
            "cpu0 write     0xd0000070/4 = 0xf  virtio-blk vda Status  rip 0xffffffff81000000\n");
  area().mmio.is_write = 0;
  area().mmio.phys_addr = 0xd0000fff;
  tracer_.exit(0, area());
  EXPECT_EQ(events_.back().kind, Kind::kMmioRead);
  EXPECT_EQ(events_.back().reg, "Config");
}

TEST_F(TracerTest, NotificationsAndInterruptsAreNamed) {
  tracer_.notify(0xd0000050, 0);
  tracer_.interrupt(5, false);
  tracer_.interrupt(5, true);
  tracer_.interrupt(9, false);
  EXPECT_EQ(lines_, (std::vector<std::string>{
                        "-    notify    queue 0  virtio-blk vda QueueNotify\n",
                        "-    irq       pin 5  virtio-blk vda\n",
                        "-    irq-masked pin 5  virtio-blk vda\n", "-    irq       pin 9  \n"}));
}

TEST_F(TracerTest, TimeNeverRunsBackwards) {
  for (int i = 0; i < 100; ++i) tracer_.signalled(0);
  for (size_t i = 1; i < events_.size(); ++i) {
    EXPECT_GE(events_[i].time_ns, events_[i - 1].time_ns);
  }
}

TEST_F(TracerTest, TablesCountWhatHappenedAndAddUpKvmsNumbers) {
  for (int i = 0; i < 3; ++i) tracer_.notify(0xd0000050, 0);
  tracer_.interrupt(5, false);
  const std::string tables =
      summary_.tables({{"halt_exits", 2}, {"halt_exits", 5}, {"nmi_injections", 0}});
  EXPECT_NE(tables.find("         3  notify\n"), std::string::npos) << tables;
  EXPECT_NE(tables.find("         3  notify virtio-blk vda QueueNotify\n"), std::string::npos)
      << tables;
  EXPECT_NE(tables.find("         1  irq        pin  5  virtio-blk vda\n"), std::string::npos)
      << tables;
  EXPECT_NE(tables.find("         7  halt_exits\n"), std::string::npos) << tables;
  EXPECT_EQ(tables.find("nmi_injections"), std::string::npos);
}

// A file with two counters and a histogram.
std::vector<uint8_t> statistics_file() {
  constexpr uint32_t kName = 16;
  constexpr uint32_t kDescriptor = 16 + kName;
  std::vector<uint8_t> out(24 + 3 * kDescriptor + 6 * 8);
  const auto put32 = [&out](size_t at, uint32_t value) { std::memcpy(&out[at], &value, 4); };
  const auto put16 = [&out](size_t at, uint16_t value) { std::memcpy(&out[at], &value, 2); };
  put32(4, kName);
  put32(8, 3);
  put32(16, 24);
  const uint32_t data = 24 + 3 * kDescriptor;
  put32(20, data);
  const char* names[] = {"exits", "buckets", "halt_exits"};
  const uint16_t sizes[] = {1, 4, 1};
  uint32_t offset = 0;
  for (size_t i = 0; i < 3; ++i) {
    const size_t at = 24 + i * kDescriptor;
    put16(at + 6, sizes[i]);
    put32(at + 8, offset);
    std::memcpy(&out[at + 16], names[i], std::strlen(names[i]));
    offset += sizes[i] * 8;
  }
  const uint64_t exits = 1000;
  const uint64_t halts = 7;
  std::memcpy(&out[data], &exits, 8);
  std::memcpy(&out[data + 40], &halts, 8);
  return out;
}

TEST(KvmStatsTest, CountersAreReadAndHistogramsLeftOut) {
  const auto found = parse_kvm_stats(statistics_file());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].name, "exits");
  EXPECT_EQ(found[0].value, 1000U);
  EXPECT_EQ(found[1].name, "halt_exits");
  EXPECT_EQ(found[1].value, 7U);
}

TEST(KvmStatsTest, FilesThatDoNotAddUpGiveWhatDoesAndNeverMore) {
  const auto whole = statistics_file();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_LE(parse_kvm_stats(std::span(whole).first(size)).size(), 2U);
  }
  std::mt19937 random(1);  // NOLINT: the same damage every time
  for (int round = 0; round < 5000; ++round) {
    auto damaged = whole;
    for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = uint8_t(random());
    for (const auto& statistic : parse_kvm_stats(damaged)) {
      EXPECT_LE(statistic.name.size(), damaged.size());
    }
  }
}

}  // namespace
}  // namespace thimble
