// The virtio-mmio registers: the status walk, what is refused when, interrupts, and saved state.
#include "devices/virtio/mmio.h"

#include <gtest/gtest.h>

#include "tests/unit/devices/fake_driver.h"

namespace thimble {
namespace {

using fake::DriverQueue;
using fake::Guest;
using fake::MmioDriver;

constexpr uint32_t kRunning = MmioDriver::kAcknowledge | MmioDriver::kDriver |
                              MmioDriver::kFeaturesOk | MmioDriver::kDriverOk;
constexpr uint64_t kOwnFeature = 1ULL << 5;

// Counts what the transport asks of it; gives every chain back when notified.
class Probe final : public VirtioDevice {
 public:
  VirtioId id() const override { return VirtioId::kEntropy; }
  uint64_t features() const override { return kOwnFeature; }
  std::span<const uint16_t> queue_sizes() const override { return sizes; }
  void read_config(uint32_t offset, std::span<uint8_t> data) override {
    copy_config(config, offset, data);
  }
  void activate(VirtioTransport& to, uint64_t features) override {
    ++activations;
    negotiated = features;
    transport = &to;
  }
  void notify(size_t index) override {
    ++notifications;
    Queue& queue = transport->queue(index);
    while (auto chain = queue.next_chain()) queue.put_used(chain->head, 0);
    transport->queue_done(index);
  }
  void reset() override {
    ++resets;
    transport = nullptr;
  }
  void drain() override { ++drains; }

  const std::array<uint16_t, 2> sizes{8, 4};
  const std::array<uint8_t, 6> config{1, 2, 3, 4, 5, 6};
  int activations = 0;
  int notifications = 0;
  int resets = 0;
  int drains = 0;
  uint64_t negotiated = 0;
  VirtioTransport* transport = nullptr;
};

class MmioTest : public testing::Test {
 protected:
  Guest guest;
  Probe device;
  MmioDriver driver{guest, device};
};

TEST_F(MmioTest, TellsWhatItIs) {
  EXPECT_EQ(driver.get(0x000), 0x74726976U);
  EXPECT_EQ(driver.get(0x004), 2U);
  EXPECT_EQ(driver.get(0x008), static_cast<uint32_t>(VirtioId::kEntropy));
  EXPECT_EQ(driver.get(0x0b0), ~0U) << "no shared memory";
  driver.set(0x030, 1);
  EXPECT_EQ(driver.get(0x034), 4U);
  driver.set(0x030, 2);
  EXPECT_EQ(driver.get(0x034), 0U) << "there is no third queue";
}

TEST_F(MmioTest, RegistersAnswerOnlyTo32Bits) {
  std::array<uint8_t, 8> data{};
  data.fill(0x55);
  driver.transport.read(0, std::span(data).first(2));
  EXPECT_EQ(data[0], 0);
  driver.transport.read(1, std::span(data).first(4));
  EXPECT_EQ(data[3], 0);
  driver.transport.read(0, data);
  EXPECT_EQ(data[7], 0);
  const uint8_t one[] = {1};
  driver.transport.write(0x070, one);
  EXPECT_EQ(driver.status(), 0U);
}

TEST_F(MmioTest, ConfigurationSpaceAnswersToAnyWidth) {
  std::array<uint8_t, 8> data{};
  driver.transport.read(0x101, std::span(data).first(1));
  EXPECT_EQ(data[0], 2);
  driver.transport.read(0x101, std::span(data).first(3));
  EXPECT_EQ(data[2], 4);
  data.fill(0x55);
  driver.transport.read(0x104, data);
  EXPECT_EQ(data, (std::array<uint8_t, 8>{5, 6, 0, 0, 0, 0, 0, 0}));
  driver.transport.read(0xffc, std::span(data).first(4));
  EXPECT_EQ(data[0], 0);
}

// ---- status

TEST_F(MmioTest, HonestDriverActivatesOnce) {
  driver.start();
  EXPECT_EQ(driver.status(), kRunning);
  EXPECT_EQ(device.activations, 1);
  EXPECT_EQ(device.negotiated, kOwnFeature | kFeatureVersion1 | kFeatureIndirectDescriptors);
  driver.set_status(kRunning);
  EXPECT_EQ(device.activations, 1);
}

TEST_F(MmioTest, UnknownFeatureIsRefused) {
  EXPECT_FALSE(driver.negotiate(kFeatureVersion1 | 1));
  driver.set_status(kRunning);
  EXPECT_EQ(driver.status(), MmioDriver::kAcknowledge | MmioDriver::kDriver);
  EXPECT_EQ(device.activations, 0);
}

TEST_F(MmioTest, LegacyDriverIsRefused) { EXPECT_FALSE(driver.negotiate(kOwnFeature)); }

TEST_F(MmioTest, FeaturesAreFixedOnceAgreed) {
  ASSERT_TRUE(driver.negotiate(kFeatureVersion1));
  driver.accept_features(kFeatureVersion1 | 1);
  driver.set_status(kRunning);
  EXPECT_EQ(device.negotiated, kFeatureVersion1);
}

TEST_F(MmioTest, NothingActivatesBeforeFeaturesAreAgreed) {
  driver.set_status(MmioDriver::kDriverOk);
  EXPECT_EQ(driver.status(), 0U);
  driver.set_status(MmioDriver::kFeaturesOk);
  EXPECT_EQ(driver.status(), 0U) << "without ACKNOWLEDGE and DRIVER";
  EXPECT_EQ(device.activations, 0);
}

TEST_F(MmioTest, DeviceCannotBeToldThatItNeedsAReset) {
  driver.set_status(MmioDriver::kNeedsReset);
  EXPECT_EQ(driver.status(), 0U);
}

TEST_F(MmioTest, ResetReachesADeviceThatRanAndForgetsEverything) {
  driver.set_status(0);
  EXPECT_EQ(device.resets, 0);
  driver.start();
  driver.rings[0].add({{guest.allocate(4), 4}});
  driver.set(0x050, 0);
  EXPECT_EQ(driver.get(0x060), 1U);
  driver.set_status(0);
  EXPECT_EQ(device.resets, 1);
  EXPECT_EQ(driver.status(), 0U);
  EXPECT_EQ(driver.get(0x060), 0U);
  driver.set(0x030, 0);
  EXPECT_EQ(driver.get(0x044), 0U);
  driver.start();
  EXPECT_EQ(device.activations, 2);
}

// ---- queues

TEST_F(MmioTest, NotificationsReachOnlyQueuesThatRun) {
  driver.set(0x050, 0);
  EXPECT_EQ(device.notifications, 0);
  driver.start();
  driver.transport.queue_notified(1);
  EXPECT_EQ(device.notifications, 1);
  driver.transport.queue_notified(2);
  driver.set(0x050, 0xffffffff);
  EXPECT_EQ(device.notifications, 1);
}

TEST_F(MmioTest, QueueNeverSetUpStaysOut) {
  ASSERT_TRUE(driver.negotiate(kFeatureVersion1));
  driver.set_status(kRunning);
  driver.transport.queue_notified(0);
  EXPECT_EQ(device.notifications, 0);
  EXPECT_EQ(driver.status(), kRunning);
}

TEST_F(MmioTest, QueueIsSetUpOnlyAfterFeaturesAreAgreed) {
  const DriverQueue ring(guest, 8);
  driver.set_queue(0, ring);
  EXPECT_EQ(driver.get(0x044), 0U);
  ASSERT_TRUE(driver.negotiate(kFeatureVersion1));
  driver.set_queue(0, ring);
  EXPECT_EQ(driver.get(0x044), 1U);
  driver.set(0x044, 0);
  EXPECT_EQ(driver.get(0x044), 0U);
}

TEST_F(MmioTest, QueueOutsideMemoryMeansNeedsReset) {
  ASSERT_TRUE(driver.negotiate(kFeatureVersion1));
  const DriverQueue ring(guest, 8);
  driver.set(0x030, 0);
  driver.set(0x038, 8);
  driver.set_address(0x080, ring.descriptors);
  driver.set_address(0x090, ring.available);
  driver.set_address(0x0a0, Guest::kLowSize);
  driver.set(0x044, 1);
  EXPECT_EQ(driver.get(0x044), 0U);
  driver.set_status(kRunning);
  EXPECT_EQ(driver.status(), kRunning | MmioDriver::kNeedsReset);
  EXPECT_EQ(driver.get(0x060), 2U) << "a configuration change tells the driver";
  EXPECT_EQ(driver.irq.pulses, 1);
}

TEST_F(MmioTest, QueueSizeThatDoesNotFitIsNotCut) {
  ASSERT_TRUE(driver.negotiate(kFeatureVersion1));
  const DriverQueue ring(guest, 8);
  driver.set(0x030, 0);
  driver.set(0x038, 0x10008);
  driver.set_address(0x080, ring.descriptors);
  driver.set_address(0x090, ring.available);
  driver.set_address(0x0a0, ring.used);
  driver.set(0x044, 1);
  EXPECT_EQ(driver.get(0x044), 0U);
}

TEST_F(MmioTest, QueueThatMovesWhileItRunsIsLeftWhereItWas) {
  driver.start();
  const Gpa before = driver.transport.queue(0).state().used;
  driver.set(0x030, 0);
  driver.set_address(0x0a0, guest.allocate(256));
  EXPECT_EQ(driver.transport.queue(0).state().used, before);
}

TEST_F(MmioTest, QueueStartedAgainWithoutResetMeansNeedsReset) {
  driver.start();
  driver.set(0x030, 0);
  driver.set(0x044, 0);
  EXPECT_EQ(driver.get(0x044), 0U);
  driver.rings[0].add({{guest.allocate(4), 4}});
  driver.transport.queue_notified(0);
  EXPECT_EQ(device.notifications, 0) << "the queue is stopped";
  driver.set(0x044, 1);
  EXPECT_EQ(driver.status(), kRunning | MmioDriver::kNeedsReset);
}

TEST_F(MmioTest, BrokenRingMeansNeedsResetAndSilence) {
  driver.start();
  driver.rings[0].set_available_index(1000);
  driver.transport.queue_notified(0);
  EXPECT_EQ(driver.status(), kRunning | MmioDriver::kNeedsReset);
  EXPECT_EQ(driver.irq.pulses, 1);
  for (int i = 0; i < 100; ++i) driver.transport.queue_notified(i % 2);
  EXPECT_EQ(device.notifications, 1);
  EXPECT_EQ(driver.irq.pulses, 1);
  driver.start();
  EXPECT_EQ(driver.status(), kRunning);
}

// ---- interrupts

TEST_F(MmioTest, EveryBatchPulsesEvenIfTheLastWasNotAcknowledged) {
  driver.start();
  for (int i = 1; i <= 3; ++i) {
    driver.rings[0].add({{guest.allocate(4), 4}});
    driver.transport.queue_notified(0);
    EXPECT_EQ(driver.irq.pulses, i);
    EXPECT_EQ(driver.get(0x060), 1U);
  }
  driver.set(0x064, 1);
  EXPECT_EQ(driver.get(0x060), 0U);
}

TEST_F(MmioTest, NotificationWithoutChainsDoesNotInterrupt) {
  driver.start();
  driver.transport.queue_notified(0);
  EXPECT_EQ(device.notifications, 1);
  EXPECT_EQ(driver.irq.pulses, 0);
}

TEST_F(MmioTest, EventIdxReachesTheQueuesOnlyWhenNegotiated) {
  driver.start();
  EXPECT_EQ(driver.transport.queue(0).state().event_idx, 0);
  driver.start(driver.offered_features());
  EXPECT_EQ(driver.transport.queue(0).state().event_idx, 1);
}

TEST_F(MmioTest, ConfigurationChangeIsANewGenerationAndAnInterrupt) {
  const uint32_t before = driver.get(0x0fc);
  driver.transport.config_changed();
  EXPECT_EQ(driver.irq.pulses, 0) << "no driver yet";
  EXPECT_NE(driver.get(0x0fc), before);
  driver.start();
  driver.transport.config_changed();
  EXPECT_EQ(driver.irq.pulses, 1);
  EXPECT_EQ(driver.get(0x060), 2U);
}

// ---- state

class MmioStateTest : public MmioTest {
 protected:
  MmioStateTest() { driver.start(driver.offered_features()); }
  Probe clone_device;
  MmioDriver clone{guest, clone_device};
};

TEST_F(MmioStateTest, SaveLoadSaveGivesTheSameBytes) {
  driver.rings[1].add({{guest.allocate(4), 4}});
  driver.transport.queue_notified(1);
  MmioState state = driver.transport.save();
  EXPECT_EQ(device.drains, 1);
  const auto bytes = save_state(state);
  auto loaded = load_state<MmioState>(bytes);
  ASSERT_TRUE(loaded);
  ASSERT_TRUE(clone.transport.restore(*loaded));
  MmioState again = clone.transport.save();
  EXPECT_EQ(save_state(again), bytes);
  EXPECT_EQ(clone_device.activations, 1);
  EXPECT_EQ(clone_device.negotiated, device.negotiated);
}

TEST_F(MmioStateTest, CutOrAlteredBytesAreRefusedEverywhere) {
  MmioState state = driver.transport.save();
  const auto bytes = save_state(state);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(load_state<MmioState>(std::span(bytes).first(length)));
  }
  auto longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(load_state<MmioState>(longer));
}

TEST_F(MmioStateTest, ChainMadeAvailableBeforeTheSnapshotIsServedAfterIt) {
  driver.rings[0].add({{guest.allocate(4), 4}});
  ASSERT_TRUE(clone.transport.restore(driver.transport.save()));
  EXPECT_FALSE(driver.rings[0].take_used());
  clone.transport.kick();
  EXPECT_TRUE(driver.rings[0].take_used());
}

TEST_F(MmioStateTest, InterruptNotAcknowledgedIsRepeated) {
  driver.rings[0].add({{guest.allocate(4), 4}});
  driver.transport.queue_notified(0);
  ASSERT_TRUE(clone.transport.restore(driver.transport.save()));
  clone.transport.kick();
  EXPECT_EQ(clone.irq.pulses, 1);
  EXPECT_EQ(clone.get(0x060), 1U);
}

TEST_F(MmioStateTest, StateThatCannotBeIsRefusedAndLeavesAResetDevice) {
  const MmioState good = driver.transport.save();
  MmioState bad = good;
  bad.queues.pop_back();
  EXPECT_FALSE(clone.transport.restore(bad));
  bad = good;
  bad.status |= 0x100;
  EXPECT_FALSE(clone.transport.restore(bad));
  bad = good;
  bad.status &= ~MmioDriver::kFeaturesOk;
  EXPECT_FALSE(clone.transport.restore(bad));
  bad = good;
  bad.driver_features |= 1;
  EXPECT_FALSE(clone.transport.restore(bad));
  bad = good;
  bad.queues[1].descriptors = Guest::kLowSize;
  EXPECT_FALSE(clone.transport.restore(bad));
  EXPECT_EQ(clone_device.activations, 0);
  EXPECT_EQ(clone.status(), 0U);
  EXPECT_EQ(clone.transport.queue(0).state().ready, 0);
}

}  // namespace
}  // namespace thimble
