// Nothing of the process that starts a VM gets into the VM's process: no environment, no memory, no
// memory layout, no canary; and no two VMs have these in common. Looked for in all memory of VM
// processes, which only root may.
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "tests/payload/daemon_vms.h"
#include "vmm/jail/sanitized.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using Kind = VmEvent::Kind;

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream all;
  all << file.rdbuf();
  return all.str();
}

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid) + "/"; }

// The mappings that can be read, as pairs of addresses.
std::vector<std::pair<uint64_t, uint64_t>> mappings_of(pid_t pid) {
  std::vector<std::pair<uint64_t, uint64_t>> all;
  std::istringstream lines(read_file(folder_of(pid) + "maps"));
  for (std::string line; std::getline(lines, line);) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char readable = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %c", &begin, &end, &readable) != 3) continue;
    if (readable == 'r') all.emplace_back(begin, end);
  }
  return all;
}

// How often `what` is in the memory of a process.
size_t times_in_memory(pid_t pid, const std::string& what) {
  const Fd memory(::open((folder_of(pid) + "mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(memory) << std::strerror(errno);
  size_t times = 0;
  size_t bytes = 0;
  for (const auto& [begin, end] : mappings_of(pid)) {
    std::string content(end - begin, 0);
    const ssize_t got =
        ::pread(memory.get(), content.data(), content.size(), static_cast<off_t>(begin));
    if (got <= 0) continue;  // [vvar]
    bytes += static_cast<size_t>(got);
    for (size_t at = 0; (at = content.find(what, at)) != std::string::npos; ++at) ++times;
  }
  EXPECT_GT(bytes, 1U << 20) << "its memory cannot be read";
  return times;
}

uint64_t auxiliary_value(pid_t pid, uint64_t type) {
  const std::string raw = read_file(folder_of(pid) + "auxv");
  for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= raw.size(); at += sizeof(Elf64_auxv_t)) {
    Elf64_auxv_t entry{};
    std::memcpy(&entry, raw.data() + at, sizeof entry);
    if (entry.a_type == type) return entry.a_un.a_val;
  }
  return 0;
}

// Of these the C library makes the stack's canary.
std::string random_bytes_of(pid_t pid) {
  std::string bytes(16, 0);
  const Fd memory(::open((folder_of(pid) + "mem").c_str(), O_RDONLY | O_CLOEXEC));
  const auto where = static_cast<off_t>(auxiliary_value(pid, AT_RANDOM));
  EXPECT_EQ(::pread(memory.get(), bytes.data(), bytes.size(), where), 16);
  return bytes;
}

// In the environment and on the heap; made at run time, so that it is in no program.
class ParentSecrets : public DaemonVms {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root sees the memory of a VM process";
    if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow memory is too large to be searched";
    DaemonVms::SetUp();
    secret_ = "secret-" + std::to_string(::getpid()) + "-";
    for (int i = 0; i < 4; ++i) secret_ += std::to_string(::random());
    ::setenv("TOKEN", secret_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("TOKEN");
    if (!folder_.empty()) DaemonVms::TearDown();
  }

  void expect_nothing_of_ours(pid_t pid) {
    EXPECT_EQ(read_file(folder_of(pid) + "environ"), "");
    EXPECT_EQ(read_file(folder_of(pid) + "cmdline"), std::string("thimble-vmm") + '\0');
    EXPECT_EQ(times_in_memory(pid, secret_), 0U);
    EXPECT_NE(random_bytes_of(pid), random_bytes_of(::getpid()));
  }

  std::string secret_;
};

VmSpec booting() {
  VmSpec spec;
  spec.machine = payload_options("sleeping_echo");
  spec.machine.vsock.emplace();
  spec.report_console = true;
  return spec;
}

bool comes(VmProcess& vm, Kind kind) {
  for (;;) {
    if (auto event = vm.next_event()) {
      if (event->kind == kind) return true;
      if (event->kind != Kind::kNotice && event->kind != Kind::kExposed) return false;
      continue;
    }
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    if (::poll(&ready, 1, 30000) != 1) return false;
  }
}

TEST_F(ParentSecrets, TheSearchFindsThemInTheParent) {
  EXPECT_GE(times_in_memory(::getpid(), secret_), 2U);
}

TEST_F(ParentSecrets, AVmThatBootsHasNone) {
  auto vm = VmProcess::start(booting());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(comes(*vm, Kind::kConsole));
  expect_nothing_of_ours(vm->pid());
}

TEST_F(ParentSecrets, AWarmVmAndACloneHaveNone) {
  const auto files = frozen_payload("sleeping_echo", "");
  ASSERT_TRUE(files);
  for (const bool warm : {true, false}) {
    auto vm = VmProcess::start(spec_of(*files, warm));
    ASSERT_TRUE(vm) << vm.error().message;
    if (warm) {
      ASSERT_TRUE(comes(*vm, Kind::kPrepared));
    } else {
      ASSERT_TRUE(vm->ping(1) && comes(*vm, Kind::kPong));
    }
    expect_nothing_of_ours(vm->pid());
  }
}

TEST_F(ParentSecrets, TheDaemonsVmsHaveNone) {
  start();  // with this process's environment and memory, as a fork
  auto claimed = claim("sleeps");
  ASSERT_TRUE(claimed.vm);
  ASSERT_TRUE(claimed.vm->ping(1) && comes(*claimed.vm, Kind::kPong));
  ASSERT_TRUE(wait_for("ready", 1));
  for (const char* state : {"ready", "claimed"}) {
    for (const pid_t pid : pids_in(state)) expect_nothing_of_ours(pid);
  }
}

// The first child of a process, once it has `tasks` threads.
pid_t child_of(pid_t parent, size_t tasks) {
  const std::string children = folder_of(parent) + "task/" + std::to_string(parent) + "/children";
  for (int i = 0; i < 1000; ++i) {
    const pid_t child = std::atoi(read_file(children).c_str());
    if (child > 0 && entries_of(folder_of(child) + "task") >= tasks) return child;
    ::usleep(10000);
  }
  return -1;
}

// `thimble`, which executes itself and not what the library carries.
TEST_F(ParentSecrets, AVmOfTheCommandLineHasNone) {
  const fs::path thimble =
      fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "bin/thimble";
  if (!fs::exists(thimble)) GTEST_SKIP() << "there is no " << thimble;
  const std::string kernel = payload_path("sleeping_echo");
  const pid_t front = ::fork();
  if (front == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::execl(thimble.c_str(), thimble.c_str(), "boot", "--kernel", kernel.c_str(), nullptr);
    ::_exit(1);
  }
  const pid_t vmm = child_of(front, 3);
  EXPECT_GT(vmm, 0);
  EXPECT_GE(times_in_memory(front, secret_), 1U);
  if (vmm > 0) expect_nothing_of_ours(vmm);
  EXPECT_EQ(fs::read_symlink(folder_of(vmm) + "exe"), thimble);
  ::kill(front, SIGKILL);
  ::waitpid(front, nullptr, 0);
  EXPECT_TRUE(is_gone(vmm));
}

TEST_F(ParentSecrets, NoTwoVmsHaveALayoutOrACanaryInCommon) {
  std::vector<VmProcess> vms;
  std::set<std::string> random;
  std::set<uint64_t> programs;
  std::set<uint64_t> stacks;
  constexpr size_t kVms = 4;
  for (size_t i = 0; i < kVms; ++i) {
    auto vm = VmProcess::start(booting());
    ASSERT_TRUE(vm) << vm.error().message;
    ASSERT_TRUE(comes(*vm, Kind::kConsole));
    random.insert(random_bytes_of(vm->pid()));
    programs.insert(auxiliary_value(vm->pid(), AT_ENTRY));
    stacks.insert(auxiliary_value(vm->pid(), AT_EXECFN));
    vms.push_back(std::move(*vm));
  }
  EXPECT_EQ(random.size(), kVms);
  std::ifstream setting("/proc/sys/kernel/randomize_va_space");
  if (setting.get() == '0')
    GTEST_SKIP() << "this host gives every program one layout, as the lab's";
  EXPECT_EQ(programs.size(), kVms);
  EXPECT_EQ(stacks.size(), kVms);
}

// A fork would stand still for ever at the lock.
TEST_F(ParentSecrets, AProcessWithThreadsThatAllocateStartsThem) {
  std::atomic<bool> done = false;
  std::array<std::thread, 3> threads;
  for (std::thread& thread : threads) {
    thread = std::thread([&done] {
      while (!done) ::free(::malloc(1U << 18));
    });
  }
  for (int i = 0; i < 10; ++i) {
    auto vm = VmProcess::start(booting());
    EXPECT_TRUE(vm && comes(*vm, Kind::kConsole));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace thimble::test
