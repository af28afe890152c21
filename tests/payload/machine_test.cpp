// What a machine promises, shown by payload guests: one guest per property. These run on any
// /dev/kvm, a software one too.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/payload/payload_machine.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;

size_t open_descriptors() {
  const std::filesystem::directory_iterator listing("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(listing), end(listing)));
}

size_t threads() {
  const std::filesystem::directory_iterator listing("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(listing), end(listing)));
}

// Waits until the guest wrote `text`; false after ten seconds.
bool wait_for(Transcript& transcript, const std::string& text) {
  for (int i = 0; i < 1000; ++i) {
    if (transcript.text().find(text) != std::string::npos) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

TEST(Payload, SerialOutputArrivesInOrderAndPowerOffEndsTheMachine) {
  const PayloadResult result = run_payload("serial_hello");
  EXPECT_EQ(result.end.kind, End::Kind::kPowerOff) << result.end.message;
  EXPECT_EQ(result.output, "hello from ring 0\n");
}

TEST(Payload, StringOutputCarriesEveryByteOnce) {
  const PayloadResult result = run_payload("serial_string_output");
  EXPECT_EQ(result.output, "0123456789abcdefghijklmnopqrstuvwxyz\n");
}

TEST(Payload, AFloodOnTheSerialPortIsBounded) {
  const PayloadResult result = run_payload("serial_flood");
  EXPECT_EQ(result.end.kind, End::Kind::kPowerOff) << result.end.message;
  EXPECT_GT(result.output.size(), 0U);
  EXPECT_LE(result.output.size(), 96U * 1024);
}

TEST(Payload, TypedBytesReachTheGuestInOrder) {
  Transcript transcript;
  MachineOptions options = payload_options("serial_echo");
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto machine = Machine::create(std::move(options));
  ASSERT_TRUE(machine) << machine.error().message;
  std::thread typist([&] {
    EXPECT_TRUE(wait_for(transcript, "ready\n"));
    (*machine)->type("abc123");
    EXPECT_TRUE(wait_for(transcript, "abc123"));
    (*machine)->type("q");
  });
  const End end = (*machine)->run();
  typist.join();
  EXPECT_EQ(end.kind, End::Kind::kPowerOff) << end.message;
  EXPECT_EQ(transcript.text(), "ready\nabc123");
}

TEST(Payload, ResetByKeyboardControllerEndsTheMachine) {
  EXPECT_EQ(run_payload("reset_keyboard").end.kind, End::Kind::kReset);
}

TEST(Payload, ResetByControlPortNeedsBothBits) {
  const PayloadResult result = run_payload("reset_control");
  EXPECT_EQ(result.end.kind, End::Kind::kReset);
  EXPECT_EQ(result.output, "still here\n");
}

TEST(Payload, ATripleFaultEndsTheMachineWithRegisters) {
  const End end = run_payload("triple_fault").end;
  EXPECT_EQ(end.kind, End::Kind::kTripleFault);
  EXPECT_NE(end.message.find("rip "), std::string::npos) << end.message;
}

TEST(Payload, WhatKvmCannotEmulateEndsTheMachineWithRegisters) {
  const End end = run_payload("jump_to_nowhere").end;
  EXPECT_EQ(end.kind, End::Kind::kInternalError) << end.message;
  EXPECT_NE(end.message.find("rbx 0000000000c0ffee"), std::string::npos) << end.message;
}

TEST(Payload, StopEndsAGuestThatSpins) {
  Transcript transcript;
  MachineOptions options = payload_options("spin");
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto machine = Machine::create(std::move(options));
  ASSERT_TRUE(machine) << machine.error().message;
  std::thread stopper([&] {
    EXPECT_TRUE(wait_for(transcript, "spinning"));
    (*machine)->stop();
  });
  EXPECT_EQ((*machine)->run().kind, End::Kind::kStopped);
  stopper.join();
}

TEST(Payload, StopEndsAGuestThatHaltedForEver) {
  Transcript transcript;
  MachineOptions options = payload_options("halt");
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto machine = Machine::create(std::move(options));
  ASSERT_TRUE(machine) << machine.error().message;
  std::thread stopper([&] {
    EXPECT_TRUE(wait_for(transcript, "halting"));
    (*machine)->stop();
  });
  EXPECT_EQ((*machine)->run().kind, End::Kind::kStopped);
  stopper.join();
}

TEST(Payload, StopBeforeRunEndsTheRunAtOnce) {
  auto machine = Machine::create(payload_options("spin"));
  ASSERT_TRUE(machine) << machine.error().message;
  (*machine)->stop();
  EXPECT_EQ((*machine)->run().kind, End::Kind::kStopped);
}

TEST(Payload, IoApicKeepsItsRegisters) {
  EXPECT_EQ(run_payload("ioapic_registers").output, "ok\n");
}

TEST(Payload, AnInterruptGoesThroughTheIoApicAndAMaskedPinIsSilent) {
  EXPECT_EQ(run_payload("serial_interrupt").output, "ok\n");
}

TEST(Payload, ATimerInterruptsOnceAndNeverInItsHandler) {
  EXPECT_EQ(run_payload("timer_once").output, "ok\n");
}

TEST(Payload, SenselessAccessesDoNoHarm) { EXPECT_EQ(run_payload("odd_accesses").output, "ok\n"); }

TEST(Payload, AVirtioDeviceShowsItsIdentity) {
  EXPECT_EQ(run_payload("virtio_identity").output, "ok\n");
}

TEST(Payload, ZeroPageAndCommandLineAreWhereLinuxLooks) {
  MachineOptions options = payload_options("boot_parameters");
  options.command_line = "quiet thimble.test=1";
  options.entropy = false;
  EXPECT_EQ(run_payload(std::move(options)).output, "quiet thimble.test=1\nok\n");
}

TEST(Payload, DevicesAreNamedOnTheCommandLine) {
  MachineOptions options = payload_options("boot_parameters");
  options.command_line = "quiet";
  EXPECT_EQ(run_payload(std::move(options)).output,
            "virtio_mmio.device=4K@0xd0000000:5 quiet\nok\n");
}

TEST(Payload, TwoMachinesInOneProcessKeepToThemselves) {
  PayloadResult spinning;
  Transcript transcript;
  MachineOptions options = payload_options("spin");
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto other = Machine::create(std::move(options));
  ASSERT_TRUE(other) << other.error().message;
  std::thread runner([&] { spinning.end = (*other)->run(); });
  ASSERT_TRUE(wait_for(transcript, "spinning"));
  EXPECT_EQ(run_payload("triple_fault").end.kind, End::Kind::kTripleFault);
  EXPECT_EQ(run_payload("serial_hello").output, "hello from ring 0\n");
  (*other)->stop();
  runner.join();
  EXPECT_EQ(spinning.end.kind, End::Kind::kStopped);
}

TEST(Payload, AnEndedMachineLeavesNothingBehind) {
  run_payload("serial_hello");
  const size_t descriptors = open_descriptors();
  const size_t tasks = threads();
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(run_payload("serial_hello").end.kind, End::Kind::kPowerOff);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(threads(), tasks);
}

// ---- wrong options ----

TEST(MachineOptions, MoreMemoryThanTheHostHasIsRefused) {
  MachineOptions options = payload_options("serial_hello");
  options.memory_bytes = 1ULL << 50;
  auto machine = Machine::create(std::move(options));
  ASSERT_FALSE(machine);
  EXPECT_NE(machine.error().message.find("this host has"), std::string::npos);
}

TEST(MachineOptions, AMissingKernelIsNamed) {
  auto machine = Machine::create(payload_options("no_such_payload"));
  ASSERT_FALSE(machine);
  EXPECT_NE(machine.error().message.find("no_such_payload"), std::string::npos);
}

TEST(MachineOptions, CountsOutsideTheirRangeAreRefused) {
  MachineOptions options = payload_options("serial_hello");
  options.vcpus = 9;
  EXPECT_FALSE(Machine::create(std::move(options)));
  options = payload_options("serial_hello");
  options.memory_bytes = (16ULL << 20) + 1;
  EXPECT_FALSE(Machine::create(std::move(options)));
}

}  // namespace
}  // namespace thimble::test
