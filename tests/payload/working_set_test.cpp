// Working sets with the real /dev/kvm: recorded by a clone, prefaulted for prepared machines.
#include "vmm/snapshot/working_set.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "pool/vm/vm_process.h"
#include "tests/payload/warm_vm_files.h"

namespace thimble::test {
namespace {

using Kind = VmEvent::Kind;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = kFrozenMemory / kPage;

std::optional<VmEvent> next_event(VmProcess& vm) {
  for (;;) {
    auto event = vm.next_event();
    if (event && event->kind != Kind::kNotice && event->kind != Kind::kExposed) return event;
    if (event) continue;
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    if (vm.poll_fd() < 0 || ::poll(&ready, 1, 30000) != 1) return std::nullopt;
  }
}

const FrozenFiles& ending() {
  static const Result<FrozenFiles> files = frozen_payload("serial_echo", "q");
  return *files;
}
const FrozenFiles& sleeping() {
  static const Result<FrozenFiles> files = frozen_payload("sleeping_echo", "");
  return *files;
}

// … and one that looks again and again whether something was typed.
const FrozenFiles& looking() {
  static const Result<FrozenFiles> files = frozen_payload("serial_echo", "");
  return *files;
}

std::vector<uint8_t> content(int file) {
  std::vector<uint8_t> bytes(static_cast<size_t>(::lseek(file, 0, SEEK_END)));
  EXPECT_EQ(::pread(file, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

Fd file_of(std::span<const uint8_t> bytes) {
  Fd file(::memfd_create("working set", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return file;
}

// Pages here and there, of every kind: below 1 MiB, the walker's own, the last one.
Fd some_set() {
  WorkingSet set(kPages);
  for (uint64_t page = 0; page < 64; ++page) set.add(page * 3, page % 2 == 0);
  for (uint64_t page = 0xa0; page < 0x110; ++page) set.add(page, page % 5 == 0);
  set.add(kPages - 1, true);
  return file_of(set.write());
}

// What this process has changed of its mapping of `bytes`.
uint64_t anonymous_kib(uint64_t bytes) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool wanted = false;
  uint64_t sum = 0;
  while (std::getline(maps, line)) {
    unsigned long begin = 0;
    unsigned long end = 0;
    unsigned long kib = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) wanted = end - begin == bytes;
    if (wanted && std::sscanf(line.c_str(), "Anonymous: %lu kB", &kib) == 1) sum += kib;
  }
  return sum;
}

Result<std::unique_ptr<Machine>> prepared(const FrozenFiles& files, const Snapshot& snapshot,
                                          Fd set, std::vector<std::string>* notices) {
  VmSpec spec = spec_of(files, true);
  spec.machine.working_set = std::move(set);
  spec.machine.on_notice = [notices](const std::string& line) { notices->push_back(line); };
  return Machine::prepare(std::move(spec.machine), &snapshot);
}

TEST(WorkingSet, APreparedMachineHasItsPagesAndTheTemplatesMemory) {
  auto snapshot = sleeping().open();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  const uint64_t before = anonymous_kib(kFrozenMemory);
  std::vector<std::string> notices;
  auto machine = prepared(sleeping(), **snapshot, some_set(), &notices);
  ASSERT_TRUE(machine) << machine.error().message;
  EXPECT_TRUE(notices.empty()) << notices.front();
  EXPECT_GT(anonymous_kib(kFrozenMemory), before + 100) << "its own pages are there";
  ASSERT_TRUE((*machine)->claim(**snapshot));
  auto saved = freeze(**machine);
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_EQ(content(saved->memory.get()), content(sleeping().memory.get()));
}

TEST(WorkingSet, OneThatDoesNotFitIsToldAndNotFollowed) {
  auto snapshot = sleeping().open();
  ASSERT_TRUE(snapshot);
  std::vector<uint8_t> corrupt = content(some_set().get());
  corrupt[40] ^= 1;
  const std::vector<uint8_t> sets[] = {
      {}, {1, 2, 3}, corrupt, WorkingSet(kPages / 2).write(), std::vector<uint8_t>(kPages * 2)};
  for (const std::vector<uint8_t>& set : sets) {
    std::vector<std::string> notices;
    auto machine = prepared(sleeping(), **snapshot, file_of(set), &notices);
    ASSERT_TRUE(machine) << machine.error().message;
    EXPECT_EQ(notices.size(), 1U) << set.size();
    EXPECT_TRUE((*machine)->claim(**snapshot));
  }
}

Result<VmProcess> warm_vm_with(const FrozenFiles& files, Fd set) {
  VmSpec spec = spec_of(files, true);
  spec.snapshot->working_set = std::move(set);
  auto vm = VmProcess::start(std::move(spec));
  if (!vm) return vm;
  const auto event = next_event(*vm);
  if (!event || event->kind != Kind::kPrepared) return fail("no warm VM");
  return vm;
}

TEST(WorkingSet, AWarmVmWithOneRunsAsOneWithout) {
  auto vm = warm_vm_with(ending(), some_set());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  const auto event = next_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kEnded) << event->text;
  EXPECT_EQ(event->end, End::Kind::kPowerOff) << event->text;
}

// Asked again until the guest has run: a claim does not wait for it.
Result<Fd> record(VmProcess& vm) {
  for (int i = 0; i < 500; ++i) {
    Fd file(::memfd_create("recorded", MFD_CLOEXEC));
    if (auto asked = vm.record_working_set(file.get()); !asked)
      return std::unexpected(asked.error());
    const auto event = next_event(vm);
    if (!event || event->kind != Kind::kRecorded) return fail(event ? event->text : "no answer");
    const auto set = WorkingSet::read(content(file.get()), kPages);
    if (!set) return std::unexpected(set.error());
    if (set->count_touched() > 0) return file;
    ::poll(nullptr, 0, 10);
  }
  return fail("it touched nothing");
}

// A clone, confined as any, records; the next one uses it.
TEST(WorkingSet, AClonesIsRecordedAndUsed) {
  auto first = warm_vm_with(looking(), Fd());
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(first->claim(false));
  auto set = record(*first);
  ASSERT_TRUE(set) << set.error().message;
  auto second = warm_vm_with(looking(), std::move(*set));
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(second->claim(false));
  for (VmProcess* vm : {&*first, &*second}) {
    ASSERT_TRUE(vm->ping(1));
    const auto pong = next_event(*vm);
    EXPECT_TRUE(pong && pong->kind == Kind::kPong) << "it is as well as before";
  }
}

struct Typed {
  WorkingSet set{kPages};
  FrozenFiles frozen;
};

// A clone of a guest that sleeps hears one key, whose interrupt is written to the stack, and goes
// back to sleep.
Result<Typed> type_at(const FrozenFiles& files) {
  auto snapshot = files.open();
  if (!snapshot) return std::unexpected(snapshot.error());
  VmSpec spec = spec_of(files, true);
  spec.machine.page_map = Fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::promise<void> echoed;
  spec.machine.on_serial = [&echoed](std::span<const uint8_t>) { echoed.set_value(); };
  auto machine = Machine::prepare(std::move(spec.machine), snapshot->get());
  if (!machine) return std::unexpected(machine.error());
  if (auto claimed = (*machine)->claim(**snapshot); !claimed)
    return std::unexpected(claimed.error());
  std::jthread running([&] { (*machine)->run(); });
  (*machine)->type("a");
  echoed.get_future().wait();
  ::poll(nullptr, 0, 200);
  const Fd file(::memfd_create("recorded", MFD_CLOEXEC));
  const auto recorded = (*machine)->record_working_set(file.get());
  const auto paused = (*machine)->pause();
  auto frozen = freeze(**machine);
  (*machine)->stop();
  if (!paused) return std::unexpected(paused.error());
  if (!recorded) return std::unexpected(recorded.error());
  if (!frozen) return std::unexpected(frozen.error());
  auto set = WorkingSet::read(content(file.get()), kPages);
  if (!set) return std::unexpected(set.error());
  return Typed{std::move(*set), std::move(*frozen)};
}

// Each such page is a copy of the clone's, and a fault, whatever is in it.
TEST(WorkingSet, WhatAGuestHasWrittenIsWrittenEvenIfItIsAsBefore) {
  const auto first = type_at(sleeping());
  ASSERT_TRUE(first) << first.error().message;
  const auto second = type_at(first->frozen);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(content(second->frozen.memory.get()), content(first->frozen.memory.get()));
  EXPECT_GT(second->set.count_written(), 0U);
  EXPECT_GT(second->set.count_touched(), second->set.count_written()) << "its code is only read";
}

TEST(WorkingSet, AMachineThatIsNoCloneHasNone) {
  auto machine = Machine::create(payload_options("halt"));
  ASSERT_TRUE(machine) << machine.error().message;
  const Fd file(::memfd_create("recorded", MFD_CLOEXEC));
  EXPECT_FALSE((*machine)->record_working_set(file.get()));
}

}  // namespace
}  // namespace thimble::test
