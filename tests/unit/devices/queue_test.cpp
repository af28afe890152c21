// The split virtqueue: what an honest driver gets, and that a hostile one only breaks its queue.
#include "devices/virtio/queue.h"

#include <gtest/gtest.h>

#include "tests/unit/devices/fake_guest.h"

namespace thimble {
namespace {

using fake::DriverQueue;
using fake::Guest;

constexpr uint16_t kSize = 8;

class QueueTest : public testing::Test {
 protected:
  QueueTest() { driver.enable(queue); }
  void use_event_idx() { queue.state().event_idx = 1; }
  // Takes one chain and gives it back.
  void serve_one(uint32_t written = 0) {
    auto chain = queue.next_chain();
    ASSERT_TRUE(chain);
    queue.put_used(chain->head, written);
  }
  void expect_broken() {
    EXPECT_FALSE(queue.next_chain());
    EXPECT_TRUE(queue.broken());
    EXPECT_FALSE(queue.has_chains());
    queue.put_used(0, 0);
    EXPECT_EQ(driver.used_index(), 0);
  }

  Guest guest;
  DriverQueue driver{guest, kSize};
  Queue queue{guest.memory, kSize};
};

TEST_F(QueueTest, EmptyRingHasNoChains) {
  EXPECT_FALSE(queue.has_chains());
  EXPECT_FALSE(queue.next_chain());
  EXPECT_FALSE(queue.broken());
}

TEST_F(QueueTest, ChainGivesReadableThenWritableBuffers) {
  const uint8_t hello[] = {1, 2, 3, 4, 5};
  const Gpa in = guest.put(hello);
  const Gpa out = guest.allocate(16);
  const uint16_t head = driver.add({{in, 2}, {in + 2, 3}, {out, 4, true}, {out + 4, 12, true}});

  auto chain = queue.next_chain();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->head, head);
  EXPECT_EQ(chain->readable_size(), 5U);
  EXPECT_EQ(chain->writable_size(), 16U);
  uint8_t copy[3] = {};
  EXPECT_EQ(chain->read(1, copy), 3U);
  EXPECT_EQ(copy[0], 2);
  EXPECT_EQ(copy[2], 4);
  EXPECT_EQ(chain->write(3, hello), 5U);
  EXPECT_EQ(guest.bytes(out + 3, 5), std::vector<uint8_t>(hello, hello + 5));
}

TEST_F(QueueTest, CopiesStopAtTheEndOfTheChain) {
  const Gpa in = guest.allocate(4);
  driver.add({{in, 4}, {in, 2, true}});
  auto chain = queue.next_chain();
  ASSERT_TRUE(chain);
  uint8_t bytes[8] = {};
  EXPECT_EQ(chain->read(0, bytes), 4U);
  EXPECT_EQ(chain->read(4, bytes), 0U);
  EXPECT_EQ(chain->read(UINT64_MAX, bytes), 0U);
  EXPECT_EQ(chain->write(1, bytes), 1U);
}

TEST_F(QueueTest, UsedEntriesReachTheDriverInOrder) {
  const Gpa page = guest.allocate(64);
  const uint16_t first = driver.add({{page, 8}});
  const uint16_t second = driver.add({{page, 8, true}});
  serve_one();
  serve_one(7);
  const auto one = driver.take_used();
  const auto two = driver.take_used();
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->id, first);
  EXPECT_EQ(two->id, second);
  EXPECT_EQ(two->length, 7U);
  EXPECT_FALSE(driver.take_used());
}

TEST_F(QueueTest, IndicesWrapAt65536) {
  const Gpa page = guest.allocate(16);
  for (int i = 0; i < 70000; ++i) {
    driver.add({{page, 16}});
    serve_one();
    ASSERT_TRUE(driver.take_used());
  }
  EXPECT_FALSE(queue.broken());
  EXPECT_EQ(driver.used_index(), 70000 % 65536);
}

TEST_F(QueueTest, UndoneChainComesAgain) {
  const uint16_t head = driver.add({{guest.allocate(4), 4}});
  ASSERT_TRUE(queue.next_chain());
  queue.undo_next();
  auto again = queue.next_chain();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->head, head);
}

TEST_F(QueueTest, IndirectTableIsWalked) {
  const Gpa page = guest.allocate(16);
  const DriverQueue::Descriptor table[] = {
      {page, 4, DriverQueue::kNext, 1},
      {page + 4, 8, DriverQueue::kWrite, 0},
  };
  driver.set(0, {guest.put_value(table), sizeof(table), DriverQueue::kIndirect, 0});
  driver.make_available(0);
  auto chain = queue.next_chain();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->readable_size(), 4U);
  EXPECT_EQ(chain->writable_size(), 8U);
}

TEST_F(QueueTest, IndirectTableMayEndADirectChain) {
  const Gpa page = guest.allocate(16);
  const DriverQueue::Descriptor table[] = {{page, 8, DriverQueue::kWrite, 0}};
  driver.set(0, {page, 4, DriverQueue::kNext, 1});
  driver.set(1, {guest.put_value(table), sizeof(table), DriverQueue::kIndirect, 0});
  driver.make_available(0);
  auto chain = queue.next_chain();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->readable_size(), 4U);
  EXPECT_EQ(chain->writable_size(), 8U);
}

// ---- interrupts and notifications

TEST_F(QueueTest, InterruptsUnlessTheDriverSaysNo) {
  EXPECT_FALSE(queue.should_interrupt()) << "nothing was put";
  driver.add({{guest.allocate(4), 4}});
  serve_one();
  EXPECT_TRUE(queue.should_interrupt());
  EXPECT_FALSE(queue.should_interrupt()) << "nothing new was put";
  driver.suppress_interrupts(true);
  driver.add({{guest.allocate(4), 4}});
  serve_one();
  EXPECT_FALSE(queue.should_interrupt());
}

TEST_F(QueueTest, EventIdxInterruptsOnceTheAskedEntryIsPassed) {
  use_event_idx();
  driver.set_used_event(1);
  driver.add({{guest.allocate(4), 4}});
  serve_one();
  EXPECT_FALSE(queue.should_interrupt());
  driver.add({{guest.allocate(4), 4}});
  serve_one();
  EXPECT_TRUE(queue.should_interrupt());
  driver.add({{guest.allocate(4), 4}});
  serve_one();
  EXPECT_FALSE(queue.should_interrupt()) << "the driver has not asked again";
}

TEST_F(QueueTest, EventIdxInterruptIsNotMissedWithinABatch) {
  use_event_idx();
  driver.set_used_event(1);
  for (int i = 0; i < 4; ++i) driver.add({{guest.allocate(4), 4}});
  for (int i = 0; i < 4; ++i) serve_one();
  EXPECT_TRUE(queue.should_interrupt());
}

TEST_F(QueueTest, EventIdxAsksForANotificationAtTheNextChain) {
  use_event_idx();
  driver.add({{guest.allocate(4), 4}});
  EXPECT_TRUE(queue.enable_notifications()) << "a chain is waiting already";
  serve_one();
  EXPECT_FALSE(queue.enable_notifications());
  EXPECT_EQ(driver.available_event(), 1);
}

// ---- where the areas lie

struct Placement {
  const char* name;
  uint16_t size;
  Gpa descriptors;
  Gpa available;
  Gpa used;
  bool sound;
};

class QueuePlacement : public testing::TestWithParam<Placement> {};

TEST_P(QueuePlacement, IsJudgedWhenTheQueueIsEnabled) {
  Guest guest;
  Queue queue(guest.memory, kSize);
  const Placement& placement = GetParam();
  queue.state().size = placement.size;
  queue.state().descriptors = placement.descriptors;
  queue.state().available = placement.available;
  queue.state().used = placement.used;
  EXPECT_EQ(queue.enable(), placement.sound);
  EXPECT_EQ(queue.usable(), placement.sound);
  EXPECT_EQ(queue.broken(), !placement.sound);
  EXPECT_FALSE(queue.has_chains());
}

constexpr Gpa kEnd = Guest::kLowSize;
INSTANTIATE_TEST_SUITE_P(
    Areas, QueuePlacement,
    testing::Values(
        Placement{"Sound", 8, 0x1000, 0x2000, 0x3000, true},
        Placement{"OfOneEntry", 1, 0x1000, 0x2000, 0x3000, true},
        Placement{"EndingWithMemory", 8, kEnd - 128, kEnd - 150, kEnd - 70 - 150 - 4, true},
        Placement{"AboveTheHole", 8, Guest::kHighBase, Guest::kHighBase + 256, 0x3000, true},
        Placement{"OfNoEntries", 0, 0x1000, 0x2000, 0x3000, false},
        Placement{"NotAPowerOfTwo", 6, 0x1000, 0x2000, 0x3000, false},
        Placement{"LargerThanTheDevice", 16, 0x1000, 0x2000, 0x3000, false},
        Placement{"DescriptorsUnaligned", 8, 0x1008, 0x2000, 0x3000, false},
        Placement{"AvailableUnaligned", 8, 0x1000, 0x2001, 0x3000, false},
        Placement{"UsedUnaligned", 8, 0x1000, 0x2000, 0x3002, false},
        Placement{"DescriptorsCutByTheHole", 8, kEnd - 112, 0x2000, 0x3000, false},
        Placement{"AvailableCutByTheHole", 8, 0x1000, kEnd - 20, 0x3000, false},
        Placement{"UsedCutByTheHole", 8, 0x1000, 0x2000, kEnd - 68, false},
        Placement{"InTheHole", 8, 0x1000, 0x2000, 0xd0000000, false},
        Placement{"WrappingAround", 8, 0xfffffffffffffff0, 0x2000, 0x3000, false}),
    [](const auto& test) { return test.param.name; });

// ---- hostile rings

TEST_F(QueueTest, IndexThatJumpsAheadBreaks) {
  driver.set_available_index(kSize + 1);
  expect_broken();
}

TEST_F(QueueTest, IndexThatGoesBackBreaks) {
  driver.set_available_index(0xffff);
  expect_broken();
}

TEST_F(QueueTest, HeadOutsideTheTableBreaks) {
  driver.make_available(kSize);
  expect_broken();
}

TEST_F(QueueTest, LoopBreaks) {
  const Gpa page = guest.allocate(16);
  driver.set(0, {page, 4, DriverQueue::kNext, 1});
  driver.set(1, {page, 4, DriverQueue::kNext, 0});
  driver.make_available(0);
  expect_broken();
}

TEST_F(QueueTest, LoopInsideAnIndirectTableBreaks) {
  const Gpa page = guest.allocate(16);
  const DriverQueue::Descriptor table[] = {{page, 4, DriverQueue::kNext, 0}};
  driver.set(0, {guest.put_value(table), sizeof(table), DriverQueue::kIndirect, 0});
  driver.make_available(0);
  expect_broken();
}

TEST_F(QueueTest, NextOutsideTheTableBreaks) {
  driver.set(0, {guest.allocate(16), 4, DriverQueue::kNext, kSize});
  driver.make_available(0);
  expect_broken();
}

TEST_F(QueueTest, WritableBeforeReadableBreaks) {
  const Gpa page = guest.allocate(16);
  driver.add({{page, 4, true}, {page, 4}});
  expect_broken();
}

TEST_F(QueueTest, IndirectTableInsideATableBreaks) {
  const DriverQueue::Descriptor inner[] = {{guest.allocate(4), 4, 0, 0}};
  const DriverQueue::Descriptor outer[] = {
      {guest.put_value(inner), sizeof(inner), DriverQueue::kIndirect, 0}};
  driver.set(0, {guest.put_value(outer), sizeof(outer), DriverQueue::kIndirect, 0});
  driver.make_available(0);
  expect_broken();
}

TEST_F(QueueTest, IndirectTogetherWithNextBreaks) {
  const DriverQueue::Descriptor table[] = {{guest.allocate(4), 4, 0, 0}};
  driver.set(
      0, {guest.put_value(table), sizeof(table), DriverQueue::kIndirect | DriverQueue::kNext, 1});
  driver.make_available(0);
  expect_broken();
}

class IndirectLength : public QueueTest, public testing::WithParamInterface<uint32_t> {};

TEST_P(IndirectLength, BreaksTheQueue) {
  driver.set(0, {guest.allocate(32), GetParam(), DriverQueue::kIndirect, 0});
  driver.make_available(0);
  expect_broken();
}

INSTANTIATE_TEST_SUITE_P(Of, IndirectLength,
                         testing::Values(0, 8, 17, (Queue::kMaxIndirect + 1) * 16, 0xfffffff0));

struct BadBuffer {
  const char* name;
  Gpa address;
  uint32_t length;
};

class QueueBuffer : public QueueTest, public testing::WithParamInterface<BadBuffer> {};

TEST_P(QueueBuffer, BreaksTheQueue) {
  driver.add({{GetParam().address, GetParam().length, true}});
  expect_broken();
}

TEST_P(QueueBuffer, BreaksTheQueueAsAnIndirectTable) {
  driver.set(0, {GetParam().address, GetParam().length & ~15U, DriverQueue::kIndirect, 0});
  driver.make_available(0);
  expect_broken();
}

INSTANTIATE_TEST_SUITE_P(
    Outside, QueueBuffer,
    testing::Values(BadBuffer{"CutByTheHole", kEnd - 16, 32},
                    BadBuffer{"StartingAtTheHole", kEnd, 16},
                    BadBuffer{"EndingWhereMemoryGoesOn", Guest::kHighBase - 16, 32},
                    BadBuffer{"BehindAllMemory", Guest::kHighBase + Guest::kHighSize, 16},
                    BadBuffer{"LongerThanMemory", 0x1000, 0xffffffff},
                    BadBuffer{"WrappingAround", 0xfffffffffffffff0, 0x20}),
    [](const auto& test) { return test.param.name; });

TEST_F(QueueTest, BufferEndingExactlyWithMemoryIsTaken) {
  driver.add({{kEnd - 16, 16}, {Guest::kHighBase, Guest::kHighSize, true}});
  auto chain = queue.next_chain();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->writable_size(), Guest::kHighSize);
}

TEST_F(QueueTest, ResetForgetsABreak) {
  driver.make_available(kSize);
  expect_broken();
  queue.reset();
  EXPECT_FALSE(queue.broken());
  EXPECT_FALSE(queue.usable());
}

// ---- state

TEST_F(QueueTest, GoesOnAfterRestoreWhereItStood) {
  const Gpa page = guest.allocate(64);
  driver.add({{page, 8}});
  serve_one();
  const uint16_t second = driver.add({{page, 8}});

  const auto bytes = save_state(queue.state());
  auto state = load_state<QueueState>(bytes);
  ASSERT_TRUE(state);
  EXPECT_EQ(save_state(*state), bytes);
  Queue clone(guest.memory, kSize);
  ASSERT_TRUE(clone.restore(*state));
  auto chain = clone.next_chain();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->head, second);
}

TEST_F(QueueTest, RestoreRefusesAreasOutsideMemory) {
  QueueState state = queue.state();
  state.used = Guest::kLowSize - 4;
  Queue clone(guest.memory, kSize);
  EXPECT_FALSE(clone.restore(state));
  EXPECT_FALSE(clone.usable());
  state = queue.state();
  state.ready = 2;
  EXPECT_FALSE(clone.restore(state));
}

}  // namespace
}  // namespace thimble
