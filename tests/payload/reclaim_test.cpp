// Clones that give their memory back while their guest sleeps, with the real /dev/kvm.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/vm/vm_process.h"
#include "tests/payload/warm_vm_files.h"

namespace thimble::test {
namespace {

using namespace std::chrono_literals;

const FrozenFiles& sleeping_pages() {
  static const Result<FrozenFiles> files = frozen_payload("sleeping_pages", "");
  return *files;
}

// KiB of the mapping of the template's memory: what is there, and what is the process's own of it.
struct Held {
  uint64_t there = 0;
  uint64_t own = 0;
};
Held held_by(const std::string& process) {
  std::ifstream maps("/proc/" + process + "/smaps");
  std::string line;
  bool wanted = false;
  Held held;
  while (std::getline(maps, line)) {
    unsigned long begin = 0;
    unsigned long end = 0;
    unsigned long kib = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      wanted = end - begin == kFrozenMemory;
    }
    if (!wanted) continue;
    if (std::sscanf(line.c_str(), "Rss: %lu kB", &kib) == 1) held.there += kib;
    if (std::sscanf(line.c_str(), "Anonymous: %lu kB", &kib) == 1) held.own += kib;
  }
  return held;
}

bool soon(const std::function<bool()>& holds) {
  for (int i = 0; i < 3000; ++i) {
    if (holds()) return true;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

// A clone that runs, and what it has written.
class Clone {
 public:
  explicit Clone(const FrozenFiles& files, bool with_page_map = true) {
    snapshot_ = files.open().value();
    MachineOptions options;
    options.vsock.emplace();
    options.on_serial = [this](std::span<const uint8_t> bytes) { transcript_.add(bytes); };
    if (with_page_map) options.page_map = Fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    auto machine = Machine::restore(std::move(options), *snapshot_);
    if (!machine) {
      ADD_FAILURE() << machine.error().message;
      return;
    }
    machine_ = std::move(*machine);
    runner_ = std::jthread([this] { end_ = machine_->run(); });
  }
  ~Clone() {
    if (machine_) machine_->stop();
  }
  Clone(const Clone&) = delete;
  Clone& operator=(const Clone&) = delete;

  Machine* operator->() { return machine_.get(); }
  std::string text() { return transcript_.text(); }

  // What it says to a key: a line.
  std::string ask(const char* key) {
    const size_t before = text().size();
    machine_->type(key);
    soon([&] { return text().size() > before && text().back() == '\n'; });
    return text().substr(before);
  }
  // Until it does: a guest that was asked needs a moment to fall asleep again.
  ReclaimReport reclaim(int until) {
    ReclaimReport report;
    soon([&] {
      auto tried = machine_->reclaim(until);
      EXPECT_TRUE(tried) << tried.error().message;
      if (tried) report = *tried;
      return !tried || tried->reclaimed;
    });
    return report;
  }
  // On a thread of its own, of a guest that has been asked something; until somebody wakes it.
  void start_reclaim() {
    EXPECT_GT(held_by("self").there, 0U);
    reclaim_ = std::async(std::launch::async, [this] { return reclaim(-1); });
    EXPECT_TRUE(soon([] { return held_by("self").there == 0; })) << "all memory is given back";
  }
  ReclaimReport end_of_reclaim() { return reclaim_.get(); }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  Transcript transcript_;
  std::unique_ptr<Machine> machine_;
  End end_;
  std::jthread runner_;
  std::future<ReclaimReport> reclaim_;
};

std::vector<uint8_t> memory_of(Machine& machine) {
  EXPECT_TRUE(machine.pause());
  auto frozen = freeze(machine);
  EXPECT_TRUE(machine.resume());
  if (!frozen) return {};
  std::vector<uint8_t> bytes(kFrozenMemory);
  EXPECT_EQ(::pread(frozen->memory.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

Fd signalled() { return Fd(::eventfd(1, EFD_CLOEXEC)); }

TEST(Reclaim, AGuestHasTheMemoryThatItHadWhenItIsSpokenTo) {
  Clone clone(sleeping_pages());
  const std::string sum = clone.ask("w");
  EXPECT_GT(held_by("self").own, 64U * 4) << "these pages are its own";
  clone.start_reclaim();
  EXPECT_EQ(clone.ask("s"), sum) << "typing wakes it";
  const ReclaimReport report = clone.end_of_reclaim();
  EXPECT_TRUE(report.reclaimed);
  EXPECT_GT(report.pages, 64U);
  EXPECT_GT(report.kept_bytes, 64U * 8);
  EXPECT_LT(report.kept_bytes, 64U * 4096) << "most pages differ in a few words";
}

TEST(Reclaim, NoByteOfItsMemoryIsAnother) {
  Clone clone(sleeping_pages());
  clone.ask("w");
  // As it is once the guest has fallen asleep, and before its memory is reclaimed first.
  std::vector<uint8_t> before;
  EXPECT_TRUE(soon([&] {
    ::poll(nullptr, 0, 50);
    return std::exchange(before, memory_of(*clone.operator->())) == before;
  }));
  for (int i = 0; i < 3; ++i) {
    const ReclaimReport report = clone.reclaim(signalled().get());
    EXPECT_TRUE(report.reclaimed) << "and ended at once, since the descriptor is readable";
    EXPECT_TRUE(memory_of(*clone.operator->()) == before);
  }
}

TEST(Reclaim, ItsTimersWakeIt) {
  Clone clone(sleeping_pages());
  ASSERT_EQ(clone.ask("t"), "set\n");
  clone.start_reclaim();
  EXPECT_TRUE(soon([&] { return clone.text().ends_with("rang\n"); })) << clone.text();
  clone->type("s");  // it may be reclaimed again
  const ReclaimReport report = clone.end_of_reclaim();
  EXPECT_TRUE(report.by_timer);
}

TEST(Reclaim, AGuestThatComputesKeepsItsMemory) {
  Clone clone(sleeping_pages());
  ASSERT_EQ(clone.ask("b"), "busy\n");
  const auto report = clone->reclaim(-1);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_FALSE(report->reclaimed);
  EXPECT_EQ(report->why_not, "it computes");
  const auto before = clone->work();
  EXPECT_TRUE(soon([&] { return clone->work() > before + 20ms; })) << "it goes on computing";
  clone.ask("s");
  EXPECT_TRUE(clone.reclaim(signalled().get()).reclaimed) << "… and later it is";
}

TEST(Reclaim, WhoeverWantsTheMachinePausedEndsIt) {
  Clone clone(sleeping_pages());
  const std::string sum = clone.ask("w");
  clone.start_reclaim();
  ASSERT_TRUE(clone->pause());
  EXPECT_TRUE(clone.end_of_reclaim().reclaimed);
  auto frozen = freeze(*clone.operator->());
  ASSERT_TRUE(frozen) << frozen.error().message;
  ASSERT_TRUE(clone->resume());
  Clone copy(*frozen);
  EXPECT_EQ(copy.ask("s"), sum) << "a snapshot of it has what it had";
  EXPECT_EQ(clone.ask("s"), sum);
}

TEST(Reclaim, AStreamForTheGuestEndsIt) {
  Clone clone(sleeping_pages());
  clone.ask("s");
  clone.start_reclaim();
  auto pair = make_stream_pair();
  ASSERT_TRUE(pair);
  clone->connect(1024, std::move(pair->second));
  EXPECT_TRUE(clone.end_of_reclaim().reclaimed);
}

TEST(Reclaim, StopEndsIt) {
  Clone clone(sleeping_pages());
  clone.ask("s");
  auto reclaimed = std::async(std::launch::async, [&] {
    for (;;) {
      if (auto report = clone->reclaim(-1); !report || report->reclaimed) return report;
    }
  });
  EXPECT_TRUE(soon([] { return held_by("self").there == 0; }));
  clone->stop();
  EXPECT_FALSE(reclaimed.get()) << "it has ended";
}

// A set that is recorded later holds what was touched before, too.
TEST(Reclaim, TheWorkingSetSurvivesIt) {
  Clone clone(sleeping_pages());
  clone.ask("w");
  clone.reclaim(signalled().get());
  const Fd file(::memfd_create("recorded", MFD_CLOEXEC));
  const auto pages = clone->record_working_set(file.get());
  ASSERT_TRUE(pages) << pages.error().message;
  EXPECT_GT(*pages, 64U);
}

TEST(Reclaim, OnlyAClonesMemoryCanBeGivenBack) {
  auto booted = Machine::create(payload_options("halt"));
  ASSERT_TRUE(booted);
  EXPECT_FALSE((*booted)->reclaim(-1));
  Clone blind(sleeping_pages(), /*with_page_map=*/false);
  EXPECT_FALSE(blind->reclaim(-1));
  EXPECT_EQ(blind.ask("s"), blind.ask("s")) << "it goes on";
}

// What comes up to the end of a line.
std::string line_of(int console) {
  std::string line;
  pollfd ready{console, POLLIN, 0};
  for (char byte = 0; byte != '\n' && ::poll(&ready, 1, 30000) == 1;) {
    if (::read(console, &byte, 1) != 1) break;
    line += byte;
  }
  return line;
}

bool answers_ping(VmProcess& vm) {
  return vm.ping(1) && soon([&] {
           const auto event = vm.next_event();
           return event && event->kind == VmEvent::Kind::kPong;
         });
}

// The process of a pool, with its jail and filters: reclaims by itself, and is woken by what is
// typed and by messages.
TEST(Reclaim, AVmProcessReclaimsByItself) {
  VmSpec spec = spec_of(sleeping_pages(), true);
  spec.reclaim_after = 100ms;
  auto console = make_stream_pair();
  ASSERT_TRUE(console);
  spec.console = std::move(console->second);
  auto vm = VmProcess::start(std::move(spec));
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  ASSERT_TRUE(answers_ping(*vm)) << "it has been claimed";
  const std::string pid = std::to_string(vm->pid());
  const int keys = console->first.get();
  ASSERT_EQ(::write(keys, "w", 1), 1);
  const std::string sum = line_of(keys);
  EXPECT_EQ(sum.size(), 17U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(soon([&] { return held_by(pid).there == 0; })) << "it is reclaimed";
    ::kill(vm->pid(), SIGSTOP);
    ::poll(nullptr, 0, 20);
    ::kill(vm->pid(), SIGCONT);
    EXPECT_TRUE(answers_ping(*vm)) << "which was stopped meanwhile";
    EXPECT_TRUE(soon([&] { return held_by(pid).there == 0; })) << "it is reclaimed again";
    ASSERT_EQ(::write(keys, "s", 1), 1);
    EXPECT_EQ(line_of(keys), sum);
  }
}

}  // namespace
}  // namespace thimble::test
