// The serial port as a driver sees it, honest or not.
#include "devices/serial.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/unit/devices/fake_guest.h"

namespace thimble {
namespace {

constexpr uint64_t kData = 0;
constexpr uint64_t kInterruptEnable = 1;
constexpr uint64_t kIdentity = 2;
constexpr uint64_t kFifoControl = 2;
constexpr uint64_t kLineControl = 3;
constexpr uint64_t kModemControl = 4;
constexpr uint64_t kLineStatus = 5;
constexpr uint64_t kModemStatus = 6;
constexpr uint64_t kScratch = 7;

constexpr uint8_t kReady = 0x01;
constexpr uint8_t kTransmitterEmpty = 0x60;

class SerialTest : public testing::Test {
 protected:
  void out(uint64_t offset, uint8_t value) { serial_.write(offset, std::span(&value, 1)); }
  uint8_t in(uint64_t offset) {
    uint8_t value = 0;
    serial_.read(offset, std::span(&value, 1));
    return value;
  }
  // As a driver that has set up the port.
  void listen() { out(kModemControl, 0x0b); }
  // As an interrupt handler does: until the status says that there is nothing.
  std::string read_what_is_there() {
    std::string got;
    while ((in(kLineStatus)&kReady) != 0) got += static_cast<char>(in(kData));
    return got;
  }
  void print(std::string_view words) {
    for (const char c : words) out(kData, static_cast<uint8_t>(c));
  }

  fake::Loop loop_;
  fake::Irq irq_;
  std::string printed_;
  std::function<void()> on_room_ = [] {};
  Serial serial_{loop_, irq_,
                 [this](std::span<const uint8_t> bytes) {
                   printed_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                 },
                 [this] { on_room_(); }};
};

TEST_F(SerialTest, BytesReachTheHostInOrderOnTheLoop) {
  print("hello, ");
  print("host");
  EXPECT_EQ(printed_, "");
  loop_.turn();
  EXPECT_EQ(printed_, "hello, host");
}

TEST_F(SerialTest, TypedBytesComeOutInOrderAndStatusFollows) {
  listen();
  EXPECT_EQ(in(kLineStatus)&kReady, 0);
  serial_.type("ab");
  EXPECT_NE(in(kLineStatus)&kReady, 0);
  EXPECT_EQ(in(kData), 'a');
  EXPECT_EQ(in(kData), 'b');
  EXPECT_EQ(in(kLineStatus)&kReady, 0);
  EXPECT_EQ(in(kData), 0);  // nothing left: not a crash
}

TEST_F(SerialTest, InterruptsOnlyComeWhenTheyAreEnabled) {
  serial_.type("x");
  EXPECT_EQ(irq_.pulses, 0);
  out(kInterruptEnable, 0x01);
  EXPECT_EQ(irq_.pulses, 1);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x04);
  in(kData);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x01);
}

TEST_F(SerialTest, TransmitInterruptIsAcknowledgedByReadingItsIdentity) {
  out(kInterruptEnable, 0x02);
  EXPECT_EQ(irq_.pulses, 1);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x02);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x01);
  print("x");
  EXPECT_EQ(irq_.pulses, 2);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x02);
}

TEST_F(SerialTest, ReceivedDataIsReportedBeforeTheEmptyTransmitter) {
  out(kInterruptEnable, 0x03);
  serial_.type("x");
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x04);
  in(kData);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x02);
}

TEST_F(SerialTest, GuestThatFloodsIsToldToWaitAndLosesTheRest) {
  print(std::string(SerialState::kMaxToSend - 1, 'x'));
  EXPECT_EQ(in(kLineStatus)&kTransmitterEmpty, kTransmitterEmpty);
  print("y");
  EXPECT_EQ(in(kLineStatus)&kTransmitterEmpty, 0);
  print("lost");
  EXPECT_EQ(serial_.save().to_send.size(), SerialState::kMaxToSend);
  loop_.turn();
  EXPECT_EQ(printed_, std::string(SerialState::kMaxToSend - 1, 'x') + "y");
  EXPECT_EQ(in(kLineStatus)&kTransmitterEmpty, kTransmitterEmpty);
}

TEST_F(SerialTest, WaitingGuestIsInterruptedWhenThereIsRoomAgain) {
  out(kInterruptEnable, 0x02);
  print(std::string(SerialState::kMaxToSend, 'x'));
  in(kIdentity);
  const int before = irq_.pulses;
  loop_.turn();
  EXPECT_EQ(irq_.pulses, before + 1);
  EXPECT_EQ(in(kIdentity) & 0x0f, 0x02);
}

TEST_F(SerialTest, TypedBytesAreBoundedAndTheTypistIsToldWhatWasTaken) {
  EXPECT_EQ(serial_.type(std::string(SerialState::kMaxReceived + 100, 'x')),
            SerialState::kMaxReceived);
  EXPECT_EQ(serial_.save().received.size(), SerialState::kMaxReceived);
  EXPECT_EQ(serial_.type("y"), 0U);
  EXPECT_EQ(serial_.save().received.size(), SerialState::kMaxReceived);
}

TEST_F(SerialTest, AMillionBytesAtOnceArriveInOrder) {
  std::string all;
  for (int i = 0; all.size() < 1'000'000; ++i) all += std::to_string(i) + "\n";
  std::string_view left = all;
  const auto type = [&] { left.remove_prefix(serial_.type(left)); };
  on_room_ = type;
  out(kInterruptEnable, 0x01);
  type();
  std::string got;
  while (got.size() < all.size()) {
    const std::string some = read_what_is_there();
    ASSERT_FALSE(some.empty()) << "nothing more after " << got.size();
    ASSERT_LE(some.size(), Serial::kFifo) << "a handler comes to its end";
    got += some;
    const int before = irq_.pulses;
    loop_.turn();
    ASSERT_TRUE(irq_.pulses > before || got.size() == all.size()) << "the guest is told of more";
  }
  EXPECT_TRUE(got == all);
  EXPECT_TRUE(left.empty());
}

TEST_F(SerialTest, ATypistIsCalledOnceThereIsRoomForMuchAndOnlyWhenOneWaits) {
  int calls = 0;
  on_room_ = [&] { ++calls; };
  listen();
  serial_.type(std::string(SerialState::kMaxReceived, 'x'));
  read_what_is_there();
  loop_.turn();
  EXPECT_EQ(calls, 0) << "everything was taken";
  serial_.type(std::string(SerialState::kMaxReceived, 'x'));
  while (serial_.save().received.size() > SerialState::kMaxReceived / 2 + Serial::kFifo) {
    EXPECT_EQ(calls, 0);
    read_what_is_there();
    loop_.turn();
  }
  for (int i = 0; i < 3; ++i) {
    read_what_is_there();
    loop_.turn();
  }
  EXPECT_EQ(calls, 1);
}

// Linux 6.1, 8250_port.c: serial8250_clear_fifos(), then reads of RBR, before it wants any input.
TEST_F(SerialTest, ADriverThatSetsUpThePortLosesNothingThatWasTypedAhead) {
  serial_.type("typed before the kernel was up");
  for (const uint8_t value : {0x00, 0x0f, 0x00}) out(kInterruptEnable, value);  // autoconfig()
  for (const uint8_t value : {0x01, 0x07, 0x00}) out(kFifoControl, value);
  in(kData);
  in(kLineStatus);
  in(kData);
  out(kModemControl, 0x09);  // DTR: the kernel's own console
  in(kData);
  EXPECT_EQ(in(kLineStatus)&kReady, 0);
  out(kInterruptEnable, 0x05);
  out(kModemControl, 0x0b);
  std::string got;
  for (int i = 0; i < 3; ++i, loop_.turn()) got += read_what_is_there();
  EXPECT_EQ(got, "typed before the kernel was up");
}

TEST_F(SerialTest, AGuestThatOnlyPollsIsAListenerToo) {
  serial_.type("x");
  int polls = 0;
  while ((in(kLineStatus)&kReady) == 0 && polls < 1000) ++polls;
  EXPECT_LT(polls, 100);
  EXPECT_EQ(in(kData), 'x');
}

TEST_F(SerialTest, AGuestThatDropsRequestToSendHoldsTheLine) {
  out(kInterruptEnable, 0x01);
  listen();
  out(kModemControl, 0x09);
  serial_.type("later");
  EXPECT_EQ(read_what_is_there(), "");
  listen();
  loop_.turn();
  EXPECT_EQ(read_what_is_there(), "later");
}

TEST_F(SerialTest, WhatWaitsOnTheLineComesBackInOrder) {
  listen();
  std::string all;
  for (int i = 0; all.size() < 1000; ++i) all += std::to_string(i);
  serial_.type(all);
  EXPECT_EQ(in(kData), '0');
  fake::Irq irq;
  Serial other(loop_, irq, nullptr);
  ASSERT_TRUE(other.restore(serial_.save()));
  const SerialState again = other.save();
  EXPECT_EQ(std::string(again.received.begin(), again.received.end()), all.substr(1));
}

TEST_F(SerialTest, LoopbackGivesBackBytesAndModemLinesAndPrintsNothing) {
  out(kModemControl, 0x1f);
  EXPECT_EQ(in(kModemStatus), 0xf0);
  out(kModemControl, 0x12);
  EXPECT_EQ(in(kModemStatus), 0x10);
  print("echo");
  EXPECT_EQ(in(kData), 'e');
  loop_.turn();
  EXPECT_EQ(printed_, "");
  print(std::string(2 * SerialState::kMaxReceived, 'x'));
  EXPECT_EQ(serial_.save().received.size(), SerialState::kMaxReceived);
}

TEST_F(SerialTest, DivisorLatchHidesDataAndInterruptEnable) {
  out(kLineControl, 0x83);
  out(kData, 0x01);
  out(kInterruptEnable, 0x02);
  EXPECT_EQ(in(kData), 0x01);
  EXPECT_EQ(in(kInterruptEnable), 0x02);
  out(kLineControl, 0x03);
  EXPECT_EQ(in(kInterruptEnable), 0x00);
  loop_.turn();
  EXPECT_EQ(printed_, "");
  EXPECT_EQ(serial_.save().divisor, 0x0201);
}

TEST_F(SerialTest, FifosAreShownWhenEnabledAndClearedWhenAsked) {
  listen();
  serial_.type("abc");
  out(kFifoControl, 0x01);
  EXPECT_EQ(in(kIdentity) & 0xc0, 0xc0);
  out(kFifoControl, 0x03);
  EXPECT_EQ(in(kLineStatus)&kReady, 0);
}

TEST_F(SerialTest, ScratchKeepsItsByteAndStatusRegistersCannotBeWritten) {
  out(kScratch, 0x5a);
  EXPECT_EQ(in(kScratch), 0x5a);
  const uint8_t line = in(kLineStatus);
  const uint8_t modem = in(kModemStatus);
  out(kLineStatus, 0xff);
  out(kModemStatus, 0xff);
  EXPECT_EQ(in(kLineStatus), line);
  EXPECT_EQ(in(kModemStatus), modem);
}

TEST_F(SerialTest, AccessesOfOddSizesChangeNothing) {
  const std::vector<uint8_t> wide(8, 0xff);
  for (const size_t size : {0U, 2U, 4U, 8U}) {
    for (uint64_t offset = 0; offset < Serial::kSize; ++offset) {
      serial_.write(offset, std::span(wide).first(size));
      std::vector<uint8_t> read(size, 0);
      serial_.read(offset, read);
      EXPECT_EQ(read, std::vector<uint8_t>(size, 0));
    }
  }
  SerialState fresh;
  SerialState now = serial_.save();
  EXPECT_EQ(save_state(now), save_state(fresh));
}

TEST_F(SerialTest, OffsetsBeyondThePortsAreHarmless) {
  out(8, 1);
  out(UINT64_MAX, 1);
  in(8);
  in(UINT64_MAX);
}

TEST_F(SerialTest, AnyAccessesKeepTheStateValidAndSaveable) {
  std::mt19937 random(1);  // NOLINT: the same accesses every time
  for (int i = 0; i < 50'000; ++i) {
    const auto value = static_cast<uint8_t>(random());
    switch (random() % 8) {
      case 0:
        in(random() % 8);
        break;
      case 1:
        serial_.type(std::string(random() % 64, 'x'));
        break;
      case 2:
        if (random() % 64 == 0) loop_.turn();
        break;
      default:
        out(random() % 8, value);
    }
  }
  SerialState state = serial_.save();
  EXPECT_TRUE(state.valid());
  EXPECT_TRUE(load_state<SerialState>(save_state(state)));
}

TEST_F(SerialTest, StateComesBackAndWaitingBytesAreStillPrinted) {
  out(kInterruptEnable, 0x03);
  out(kScratch, 0x77);
  out(kModemControl, 0x0b);
  out(kFifoControl, 0x01);
  serial_.type("in");
  print("out");
  SerialState saved = serial_.save();
  const auto bytes = save_state(saved);

  const auto loaded = load_state<SerialState>(bytes);
  ASSERT_TRUE(loaded) << loaded.error().message;
  fake::Irq irq;
  std::string printed;
  Serial other(loop_, irq, [&](std::span<const uint8_t> data) {
    printed.append(reinterpret_cast<const char*>(data.data()), data.size());
  });
  ASSERT_TRUE(other.restore(*loaded));
  EXPECT_GE(irq.pulses, 1);  // an interrupt that was due is not lost
  SerialState again = other.save();
  EXPECT_EQ(save_state(again), bytes);
  loop_.turn();
  EXPECT_EQ(printed, "out");
}

// A driver that was waiting for room when it was frozen must be woken in the clone.
TEST_F(SerialTest, Firecracker5764ADriverThatWaitsToSendGoesOnAfterTheRestore) {
  out(kInterruptEnable, 0x02);  // tell when there is room
  for (int i = 0; i < 100'000 && (in(kLineStatus) & 0x20) != 0; ++i) out(kData, 'x');
  ASSERT_EQ(in(kLineStatus) & 0x20, 0) << "the port is full: the driver waits";
  SerialState saved = serial_.save();
  const auto loaded = load_state<SerialState>(save_state(saved));
  ASSERT_TRUE(loaded) << loaded.error().message;
  fake::Irq irq;
  size_t printed = 0;
  Serial other(loop_, irq, [&](std::span<const uint8_t> data) { printed += data.size(); });
  ASSERT_TRUE(other.restore(*loaded));
  loop_.turn();
  EXPECT_GT(printed, 0U);
  EXPECT_GE(irq.pulses, 1);
  uint8_t status = 0;
  other.read(kLineStatus, {&status, 1});
  EXPECT_NE(status & 0x20, 0) << "there is room again";
}

TEST_F(SerialTest, SavedStateThatCouldNotBeIsRefusedAndChangesNothing) {
  out(kScratch, 0x11);
  SerialState state;
  state.scratch = 0x22;
  state.interrupt_enable = 0x10;
  EXPECT_FALSE(serial_.restore(state));
  state.interrupt_enable = 0;
  state.transmit_interrupt = 2;
  EXPECT_FALSE(serial_.restore(state));
  state.transmit_interrupt = 0;
  state.received.resize(SerialState::kMaxReceived + 1);
  EXPECT_FALSE(serial_.restore(state));
  state.received.clear();
  state.to_send.resize(SerialState::kMaxToSend + 1);
  EXPECT_FALSE(serial_.restore(state));
  EXPECT_EQ(in(kScratch), 0x11);
}

}  // namespace
}  // namespace thimble
