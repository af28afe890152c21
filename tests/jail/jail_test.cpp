// The jail of a VMM process, seen from both sides: a process that misbehaves on purpose is put into
// the same jail by the same code, with and without system call filters. Needs /proc, and a host
// that refuses no layer; where it does, the tests that need the layer are skipped and say why.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "devices/virtio/uring_disk.h"
#include "pool/vm/thread_filters.h"
#include "pool/vm/vm_process.h"
#include "tests/jail/attempts.h"
#include "vmm/jail/filter.h"
#include "vmm/jail/jail.h"
#include "vmm/jail/page_map.h"
#include "vmm/jail/sanitized.h"
#include "vmm/jail/spawn.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using Kind = VmEvent::Kind;

const JailOptions kOptions{.limits = {.memory_bytes = 128ULL << 20, .file_bytes = 1 << 20}};

std::optional<VmEvent> next_event(VmProcess& vm) {
  for (;;) {
    if (auto event = vm.next_event()) return event;
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    if (::poll(&ready, 1, 60000) <= 0) return std::nullopt;
  }
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream all;
  all << file.rdbuf();
  return all.str();
}

// The value of a line "Name:\tvalue" of /proc/PID/status.
std::string status_of(pid_t pid, const std::string& name) {
  std::istringstream lines(read_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + ":")) continue;
    const size_t value = line.find_first_not_of("\t ", name.size() + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

bool is_gone(pid_t pid) {
  for (int i = 0; i < 1000; ++i) {
    if (::kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// A process in the jail that says that it is there and waits.
Result<VmProcess> start_sleeper() {
  auto vm = VmProcess::start_jailed(
      [](int channel, const Confinement&) {
        send_vm_message(channel, VmMessageType::kReady, 0, "");
        for (;;) ::pause();
        return 0;
      },
      {}, kOptions);
  if (vm && next_event(*vm)->kind != Kind::kReady) return fail("the process did not come up");
  return vm;
}

class Jail : public testing::Test {
 protected:
  void SetUp() override {
    const Confinement confinement = probe_confinement();
    if (!confinement.complete()) GTEST_SKIP() << "this host refuses " << confinement.describe();
    make_listeners();
    file_ = Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    auto other = start_sleeper();
    ASSERT_TRUE(other) << other.error().message;
    other_ = std::make_unique<VmProcess>(std::move(*other));
    world_.parent = ::getpid();
    world_.other_vm = other_->pid();
    world_.read_only = file_.get();
  }

  void make_listeners() {
    tcp_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(tcp_.get(), generic, size), 0);
    ASSERT_EQ(::listen(tcp_.get(), 1), 0);
    ASSERT_EQ(::getsockname(tcp_.get(), generic, &size), 0);
    world_.tcp_port = ntohs(address.sin_port);

    world_.abstract_name = "thimble-jail-test-" + std::to_string(::getpid());
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    world_.abstract_name.copy(local.sun_path + 1, sizeof local.sun_path - 1);
    abstract_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto length =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + world_.abstract_name.size());
    ASSERT_EQ(::bind(abstract_.get(), reinterpret_cast<const sockaddr*>(&local), length), 0);
    ASSERT_EQ(::listen(abstract_.get(), 1), 0);

    world_.socket_path = "/tmp/thimble-jail-test-" + std::to_string(::getpid());
    auto named = UnixListener::bind(world_.socket_path);
    ASSERT_TRUE(named);
    named_ = std::make_unique<UnixListener>(std::move(*named));
  }

  World world_;
  Fd tcp_;
  Fd abstract_;
  Fd file_;
  std::unique_ptr<UnixListener> named_;
  std::unique_ptr<VmProcess> other_;
};

// ---- the attempts

// The test would prove nothing if they failed outside, too.
TEST_F(Jail, TheAttemptsSucceedOutside) {
  for (const Attempt& attempt : attempts()) {
    const std::set<std::string> harmless{"opens host files", "reads /proc", "connects by TCP",
                                         "connects to local sockets", "finds foreign descriptors"};
    if (harmless.contains(attempt.name)) {
      EXPECT_TRUE(attempt.succeeds(world_)) << attempt.name;
    }
  }
}

TEST_F(Jail, NamespacesAloneStopEveryAttempt) {
  for (const Attempt& attempt : attempts()) {
    auto vm = VmProcess::start_jailed(
        [&](int channel, const Confinement& confinement) {
          world_.jailed = confinement.holds(Layer::kPidNamespace);
          const bool got_out = attempt.succeeds(world_);
          send_vm_message(channel, VmMessageType::kNotice, 0, got_out ? "succeeds" : "fails");
          return 0;
        },
        std::array{world_.read_only}, kOptions);
    ASSERT_TRUE(vm) << vm.error().message;
    const auto event = next_event(*vm);
    ASSERT_TRUE(event) << attempt.name;
    EXPECT_EQ(event->text, "fails") << attempt.name;
  }
  EXPECT_EQ(::kill(other_->pid(), 0), 0) << "the other VM lives";
}

TEST_F(Jail, InEveryThreadTheFilterStopsEveryAttemptAndSaysWhich) {
  for (const FilteredThread thread :
       {FilteredThread::kVcpu, FilteredThread::kLoop, FilteredThread::kDiskWorker,
        FilteredThread::kMessenger, FilteredThread::kWarmVm}) {
    for (const Attempt& attempt : attempts()) {
      auto vm = VmProcess::start_jailed(
          [&](int channel, const Confinement& confinement) {
            world_.jailed = confinement.holds(Layer::kPidNamespace);
            auto filters = ThreadFilters::build(channel);
            if (!filters || !filters->confine(thread)) return 1;
            (void)attempt.succeeds(world_);
            send_vm_message(channel, VmMessageType::kNotice, 0, "goes on");
            return 0;
          },
          std::array{world_.read_only}, kOptions);
      ASSERT_TRUE(vm) << vm.error().message;
      const pid_t pid = vm->pid();
      const auto event = next_event(*vm);
      ASSERT_TRUE(event) << attempt.name;
      EXPECT_EQ(event->kind, Kind::kLost) << attempt.name;
      EXPECT_NE(event->text.find(std::string(attempt.call) + " ("), std::string::npos)
          << attempt.name << ": " << event->text;
      EXPECT_NE(event->text.find(name_of(thread)), std::string::npos) << event->text;
      vm->kill();
      EXPECT_TRUE(is_gone(pid)) << attempt.name;
    }
  }
}

// ---- what the lists let through, and what not

// Runs `body` confined as `thread`. The event that ends it.
VmEvent run_confined(FilteredThread thread, const std::function<void()>& body) {
  auto vm = VmProcess::start_jailed(
      [&](int channel, const Confinement&) {
        auto filters = ThreadFilters::build(channel);
        if (!filters || !filters->confine(thread)) return 1;
        body();
        send_vm_message(channel, VmMessageType::kNotice, 0, "goes on");
        return 0;
      },
      {}, kOptions);
  if (!vm) return {};
  return next_event(*vm).value_or(VmEvent{});
}

TEST_F(Jail, ExecutableMemoryIsForbidden) {
  const auto mapped = run_confined(FilteredThread::kLoop, [] {
    ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  });
  EXPECT_NE(mapped.text.find("mmap (9)"), std::string::npos) << mapped.text;
  const auto changed = run_confined(FilteredThread::kVcpu, [] {
    void* page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::mprotect(page, 4096, PROT_READ | PROT_EXEC);
  });
  EXPECT_NE(changed.text.find("mprotect (10)"), std::string::npos) << changed.text;
}

// A warm VM maps its template copy-on-write over memory that is there; once it is claimed, and in
// every other thread, files are not mapped any more.
TEST_F(Jail, AFileIsMappedOnlyByAWarmVmAndOnlyPrivately) {
  const auto map_file = [](int kind) {
    return [kind] {
      void* page =
          ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ::mmap(page, 4096, PROT_READ | PROT_WRITE, kind | MAP_FIXED, STDIN_FILENO, 0);
    };
  };
  EXPECT_EQ(run_confined(FilteredThread::kWarmVm, map_file(MAP_PRIVATE)).text, "goes on");
  for (const auto& [thread, kind] : {std::pair{FilteredThread::kWarmVm, MAP_SHARED},
                                     std::pair{FilteredThread::kLoop, MAP_PRIVATE},
                                     std::pair{FilteredThread::kMessenger, MAP_PRIVATE},
                                     std::pair{FilteredThread::kVcpu, MAP_PRIVATE}}) {
    const auto event = run_confined(thread, map_file(kind));
    EXPECT_NE(event.text.find("mmap (9)"), std::string::npos) << event.text;
  }
}

TEST_F(Jail, PlainMemoryIsAllowed) {
  const auto event = run_confined(FilteredThread::kVcpu, [] {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ::munmap(page, 4096);
  });
  EXPECT_EQ(event.text, "goes on");
}

TEST_F(Jail, SharedMemoryIsForbidden) {
  for (const FilteredThread thread : {FilteredThread::kVcpu, FilteredThread::kLoop,
                                      FilteredThread::kMessenger, FilteredThread::kWarmVm}) {
    const auto event = run_confined(thread, [] {
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    });
    EXPECT_NE(event.text.find("mmap (9)"), std::string::npos) << event.text;
  }
}

// Without any cgroup. By one that looks at itself, which an ordinary user cannot do from outside.
TEST(JailLimits, HoldItsMemoryAndItsProcesses) {
  if (kSanitized) GTEST_SKIP() << "the shadow memory of a sanitizer has no limit";
  const auto can_have = [](uint64_t bytes) {
    void* start = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) return false;
    ::munmap(start, bytes);
    return true;
  };
  const auto look = [&](const Confinement& confinement) {
    if (!can_have(kOptions.limits.memory_bytes + (64ULL << 20))) return 2;
    if (can_have(kOptions.limits.memory_bytes + (513ULL << 20))) return 3;
    // As reserve that is made memory later, by any way.
    void* reserve = ::mmap(nullptr, 1ULL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserve == MAP_FAILED) return 4;
    if (::mprotect(reserve, 1ULL << 30, PROT_READ | PROT_WRITE) == 0) return 5;
    const rlimit more{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    for (const auto resource : {RLIMIT_DATA, RLIMIT_AS, RLIMIT_NPROC}) {
      rlimit now{};
      ::getrlimit(resource, &now);
      // Counted for itself alone in a user namespace of its own.
      if (resource == RLIMIT_NPROC && !confinement.holds(Layer::kUserNamespace)) continue;
      if (now.rlim_max == RLIM_INFINITY || ::setrlimit(resource, &more) == 0) return 6;
    }
    return 0;
  };
  auto started = start_jailed(kOptions, {}, look);
  ASSERT_TRUE(started) << started.error().message;
  int status = 0;
  ASSERT_EQ(::waitpid(started->pid, &status, 0), started->pid);
  EXPECT_EQ(status, 0) << "exit status " << WEXITSTATUS(status);
}

TEST_F(Jail, OnlyTheRequestsInUseMayBeMadeOfADevice) {
  for (const unsigned long request :
       {0x5412UL /* TIOCSTI */, 0xae01UL /* KVM_CREATE_VM */, 0x5421UL /* FIONBIO */}) {
    const auto event = run_confined(FilteredThread::kVcpu, [request] { ::ioctl(0, request, 0); });
    EXPECT_NE(event.text.find("ioctl (16)"), std::string::npos) << request << event.text;
  }
}

TEST_F(Jail, OnlyTheKickMayBeSentAsASignal) {
  const auto event =
      run_confined(FilteredThread::kVcpu, [] { ::syscall(SYS_tgkill, ::getpid(), 1, SIGTERM); });
  EXPECT_NE(event.text.find("tgkill (234)"), std::string::npos) << event.text;
}

void call_32_bit_getpid() {
  long result = 20;
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
}

// To a kernel without CONFIG_IA32_EMULATION, or booted without it, it is a fault of the
// processor's.
bool kernel_has_32_bit_calls() {
  const pid_t child = ::fork();
  if (child == 0) {
    call_32_bit_getpid();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status);
}

TEST_F(Jail, SystemCallsOfThe32BitAbiEndTheProcess) {
  const char* how = kernel_has_32_bit_calls() ? "signal 31" : "signal 11";
  const auto event = run_confined(FilteredThread::kLoop, call_32_bit_getpid);
  EXPECT_EQ(event.kind, Kind::kLost);
  EXPECT_NE(event.text.find(how), std::string::npos) << event.text;
}

TEST_F(Jail, SystemCallsOfTheX32AbiEndTheProcess) {
  const auto event = run_confined(FilteredThread::kLoop, [] {
    ::syscall(0x40000000 | SYS_read, -1, nullptr, 0);  // a call that is allowed without the bit
  });
  EXPECT_EQ(event.kind, Kind::kLost);
  EXPECT_NE(event.text.find("signal 31"), std::string::npos) << event.text;
}

TEST_F(Jail, AThreadThatBlocksTheReportEndsAllTheSame) {
  const auto event = run_confined(FilteredThread::kVcpu, [] {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  });
  EXPECT_EQ(event.kind, Kind::kLost);
  EXPECT_NE(event.text.find("signal 31"), std::string::npos) << event.text;
}

TEST(Filters, TheListOfVcpuThreadsHasAtMostTwentyCalls) {
  std::set<int> calls;
  for (const AllowedCall& allowed : calls_allowed_in(FilteredThread::kVcpu)) {
    calls.insert(allowed.call);
    EXPECT_GT(std::string_view(allowed.why).size(), 3U) << allowed.call;
  }
  EXPECT_LE(calls.size(), 20U);
}

// ---- io_uring, which filters do not see

// The ring of a disk, as somebody uses it who has only its descriptor: maps it and submits.
struct StolenRing {
  explicit StolenRing(int ring) : fd(ring) {
    // The layout depends on the number of entries alone: that of a ring of our own tells it.
    io_uring_params params{};
    const Fd own(static_cast<int>(::syscall(SYS_io_uring_setup, DiskIo::kMaxInFlight, &params)));
    layout = params;
    rings = ::mmap(nullptr, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    if (rings == MAP_FAILED) {
      const size_t size = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
      rings = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
    }
    entries =
        static_cast<io_uring_sqe*>(::mmap(nullptr, params.sq_entries * sizeof(io_uring_sqe),
                                          PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES));
  }

  uint32_t& word(uint32_t offset) {
    return *reinterpret_cast<uint32_t*>(static_cast<char*>(rings) + offset);
  }

  // The result of one request.
  int submit(const io_uring_sqe& request) {
    entries[0] = request;
    word(layout.sq_off.array) = 0;
    const uint32_t tail = word(layout.sq_off.tail);
    (&word(layout.sq_off.array))[tail & (layout.sq_entries - 1)] = 0;
    __atomic_store_n(&word(layout.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    ::syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
    const uint32_t head = word(layout.cq_off.head);
    if (__atomic_load_n(&word(layout.cq_off.tail), __ATOMIC_ACQUIRE) == head) return -ENODATA;
    const auto* completions =
        reinterpret_cast<io_uring_cqe*>(static_cast<char*>(rings) + layout.cq_off.cqes);
    const int result = completions[head & (layout.cq_entries - 1)].res;
    __atomic_store_n(&word(layout.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return result;
  }

  int fd;
  io_uring_params layout{};
  void* rings = nullptr;
  io_uring_sqe* entries = nullptr;
};

// The descriptor of the one io_uring that this process has.
int find_ring() {
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (fs::read_symlink(entry.path(), error).string().find("io_uring") != std::string::npos) {
      return std::stoi(entry.path().filename());
    }
  }
  return -1;
}

TEST(Ring, OfADiskTakesNoOtherOperationsAndNoOtherFiles) {
  const Fd file(::memfd_create("disk", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 1 << 20), 0);
  auto disk = UringDisk::open(file.get());
  if (!disk) GTEST_SKIP() << disk.error().message;
  StolenRing ring(find_ring());
  ASSERT_NE(ring.rings, MAP_FAILED);
  std::array<char, 64> bytes{};
  iovec part{bytes.data(), bytes.size()};
  io_uring_sqe request{};

  request.opcode = IORING_OP_READV;
  request.flags = IOSQE_FIXED_FILE;
  request.addr = reinterpret_cast<uint64_t>(&part);
  request.len = 1;
  EXPECT_EQ(ring.submit(request), 64) << "what it is for works";
  request.flags = 0;
  request.fd = file.get();
  EXPECT_EQ(ring.submit(request), -EACCES) << "a file that is not registered";

  for (const int operation :
       {IORING_OP_OPENAT, IORING_OP_CONNECT, IORING_OP_SOCKET, IORING_OP_SENDMSG,
        IORING_OP_UNLINKAT, IORING_OP_SPLICE, IORING_OP_CLOSE, IORING_OP_NOP, IORING_OP_READ,
        IORING_OP_WRITE, IORING_OP_URING_CMD, IORING_OP_FALLOCATE}) {
    io_uring_sqe other{};
    other.opcode = static_cast<uint8_t>(operation);
    other.flags = IOSQE_FIXED_FILE;
    other.addr = reinterpret_cast<uint64_t>("/etc/passwd");
    EXPECT_EQ(ring.submit(other), -EACCES) << operation;
  }
  EXPECT_LT(::syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_FILES, nullptr, 0), 0);
}

// ---- what the host sees

TEST_F(Jail, ItsStatusHasNoUidZeroNoCapabilitiesAndNoNewPrivileges) {
  const pid_t pid = other_->pid();
  const std::string uid = status_of(pid, "Uid");
  EXPECT_FALSE(uid.empty());
  EXPECT_FALSE(uid.starts_with("0\t") || uid.find("\t0") != std::string::npos) << uid;
  if (::geteuid() == 0) {
    EXPECT_EQ(status_of(pid, "Groups").find_first_not_of(" \n"), std::string::npos);
    EXPECT_NE(status_of(pid, "Gid").substr(0, 2), "0\t");
  }
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(status_of(pid, set), "0000000000000000") << set;
  }
  EXPECT_EQ(status_of(pid, "NoNewPrivs"), "1");
  const std::string ids = status_of(pid, "NSpid");
  EXPECT_TRUE(ids.ends_with("\t1")) << ids << ": it is process 1 where it lives";
}

TEST_F(Jail, TwoVmsStartedByRootHaveDifferentUids) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user has one uid";
  auto second = start_sleeper();
  ASSERT_TRUE(second);
  EXPECT_NE(status_of(second->pid(), "Uid"), status_of(other_->pid(), "Uid"));
}

TEST_F(Jail, ItsNamespacesAreItsOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << "a process that is not dumpable shows them only to root";
  for (const char* kind : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}) {
    const auto of = [kind](const std::string& pid) {
      return fs::read_symlink("/proc/" + pid + "/ns/" + kind);
    };
    EXPECT_NE(of(std::to_string(other_->pid())), of("self")) << kind;
  }
}

TEST_F(Jail, ItsRootIsEmptyReadOnlyAndTheOnlyMount) {
  if (::geteuid() != 0) GTEST_SKIP() << "a process that is not dumpable shows it only to root";
  const std::string folder = "/proc/" + std::to_string(other_->pid());
  EXPECT_TRUE(fs::is_empty(folder + "/root"));
  const std::string mounts = read_file(folder + "/mountinfo");
  EXPECT_EQ(std::ranges::count(mounts, '\n'), 1) << mounts;
  EXPECT_NE(mounts.find(" / ro,nosuid,nodev,noexec"), std::string::npos) << mounts;
}

TEST_F(Jail, ItsLimitsAreSet) {
  rlimit limit{};
  if (::prlimit(other_->pid(), RLIMIT_CORE, nullptr, &limit) != 0) {
    GTEST_SKIP() << "prlimit of a process that is not dumpable: only root";
  }
  EXPECT_EQ(limit.rlim_max, 0U);
  ::prlimit(other_->pid(), RLIMIT_NOFILE, nullptr, &limit);
  EXPECT_LE(limit.rlim_max, 4096U);
  ::prlimit(other_->pid(), RLIMIT_FSIZE, nullptr, &limit);
  EXPECT_EQ(limit.rlim_max, kOptions.limits.file_bytes);
}

TEST_F(Jail, ItHasNoDescriptorsButItsOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << "a process that is not dumpable shows them only to root";
  std::set<std::string> names;
  for (const auto& entry :
       fs::directory_iterator("/proc/" + std::to_string(other_->pid()) + "/fd")) {
    const std::string target = fs::read_symlink(entry.path()).string();
    names.insert(target.substr(0, target.find(':')));
  }
  // /dev/null, seen from a root without /dev, and the VM channel.
  EXPECT_EQ(names, (std::set<std::string>{"/null", "socket"}));
}

// ---- its page map

// Of a page of this process: whether the page is there, and where. Nothing if the file has it not.
std::optional<std::pair<bool, uint64_t>> look_up(const Fd& page_map, const void* page) {
  constexpr uint64_t kFrameMask = (uint64_t{1} << 55) - 1;
  uint64_t entry = 0;
  const auto where = static_cast<off_t>(reinterpret_cast<uintptr_t>(page) / 4096 * sizeof entry);
  if (::pread(page_map.get(), &entry, sizeof entry, where) != sizeof entry) return std::nullopt;
  return std::pair{(entry >> 63) != 0, entry & kFrameMask};
}

// Also where there is no user namespace between it and the host's root.
TEST(PageMap, ShowsWhatIsThereAndNotWhere) {
  const int here = 1;
  const auto plain = look_up(Fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)), &here);
  ASSERT_TRUE(plain);
  if (plain->second == 0) GTEST_SKIP() << "this user is not shown where pages are anyway";
  const auto shown = look_up(open_page_map(), &here);
  ASSERT_TRUE(shown);
  EXPECT_TRUE(shown->first);
  EXPECT_EQ(shown->second, 0U);
  const auto after = look_up(Fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)), &here);
  ASSERT_TRUE(after);
  EXPECT_NE(after->second, 0U) << "it has its capability back";
}

// ---- how it is made

TEST(Spawn, AFileThatIsNoProgramIsAnErrorAndLeavesNoProcess) {
  const Fd file(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  const Program program{.file = file.get(), .name = "none", .descriptors = {}};
  const Spawned spawned = spawn(&program, 0, -1);
  EXPECT_EQ(spawned.pid, -1);
  EXPECT_TRUE(spawned.program_refused);
  EXPECT_EQ(spawned.error, EACCES);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

// A program that waits: `cat` without arguments, whose stdin is a pipe that nobody writes to.
TEST(Spawn, TheProgramGetsItsDescriptorsAndNeitherSignalsNorEnvironment) {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const Fd cat(::open("/bin/cat", O_RDONLY | O_CLOEXEC));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const Fd stdin_of_test(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  ::dup2(ends[0], STDIN_FILENO);
  const Program program{.file = cat.get(), .name = "cat", .descriptors = std::span(ends).first(1)};
  const Spawned spawned = spawn(&program, 0, -1);
  ::dup2(stdin_of_test.get(), STDIN_FILENO);
  ASSERT_GT(spawned.pid, 0);
  // The kernel lets the parent go on a moment before the child has its new memory.
  const std::string process = "/proc/" + std::to_string(spawned.pid);
  while (read_file(process + "/comm") == "jail\n") std::this_thread::yield();
  const uint64_t blocked = std::stoull(status_of(spawned.pid, "SigBlk"), nullptr, 16);
  EXPECT_NE(blocked & (uint64_t{1} << (SIGTERM - 1)), 0U);
  EXPECT_EQ(read_file(process + "/environ"), "");
  EXPECT_TRUE(fs::exists(process + "/fd/3"));
  ::kill(spawned.pid, SIGKILL);
  ::waitpid(spawned.pid, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(std::memcmp(&before, &after, 8), 0);
}

// In a mount namespace of the test's, so that nobody else sees the group's place.
TEST(Spawn, InACgroup) {
  const std::string place = (fs::temp_directory_path() / "thimble-spawn-test.XXXXXX").string();
  const pid_t child = ::fork();
  if (child == 0) {
    std::string folder = place;
    if (::mkdtemp(folder.data()) == nullptr || ::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", folder.c_str(), "cgroup2", 0, nullptr) != 0) {
      ::_exit(77);
    }
    const std::string group = folder + "/spawn-test-" + std::to_string(::getpid());
    if (::mkdir(group.c_str(), 0755) != 0) ::_exit(77);
    const Fd directory(::open(group.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const Spawned spawned = spawn(nullptr, CLONE_NEWPID, directory.get());
    siginfo_t ended{};
    const bool lived = spawned.pid > 0 && ::waitid(P_PID, static_cast<id_t>(spawned.pid), &ended,
                                                   WEXITED | WNOWAIT) == 0;
    const std::string where = read_file("/proc/" + std::to_string(spawned.pid) + "/cgroup");
    const bool reaped = ::waitpid(spawned.pid, nullptr, 0) == spawned.pid;
    ::rmdir(group.c_str());
    ::umount2(folder.c_str(), MNT_DETACH);
    ::rmdir(folder.c_str());
    ::_exit(lived && reaped && where.find("/spawn-test-") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this user, or host, makes no cgroups";
  EXPECT_EQ(status, 0);
}

// ---- the end

TEST_F(Jail, AKilledProcessIsReported) {
  auto vm = start_sleeper();
  ASSERT_TRUE(vm);
  ::kill(vm->pid(), SIGKILL);
  const auto event = next_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  EXPECT_NE(event->text.find("signal 9"), std::string::npos) << event->text;
}

// At every moment: also between the fork and the jail's last step.
TEST_F(Jail, AKilledParentLeavesNoProcess) {
  for (int delay_us = 0; delay_us < 6000; delay_us += 300) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    // A new pid namespace would hide what is left, so the descendants hold a pipe open instead.
    const pid_t parent = ::fork();
    if (parent == 0) {
      auto vm = VmProcess::start_jailed(
          [](int, const Confinement&) {
            for (;;) ::pause();
            return 0;
          },
          std::array{ends[1]}, kOptions);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    pollfd closed{ends[0], POLLIN, 0};
    EXPECT_EQ(::poll(&closed, 1, 10000), 1) << "after " << delay_us << " us something lives on";
    ::close(ends[0]);
  }
}

// ---- hosts that refuse

// Runs `body` as the root of a small world whose host forbids one kind of namespace.
int in_host_without(const char* sysctl, const std::function<int()>& body) {
  const auto write = [](const char* path, const std::string& content) {
    const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
    return file && ::write(file.get(), content.data(), content.size()) ==
                       static_cast<ssize_t>(content.size());
  };
  const std::string uid_map = "0 " + std::to_string(::geteuid()) + " 1";
  const std::string gid_map = "0 " + std::to_string(::getegid()) + " 1";
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(100);
    if (!write("/proc/self/setgroups", "deny") || !write("/proc/self/uid_map", uid_map) ||
        !write("/proc/self/gid_map", gid_map)) {
      ::_exit(103);
    }
    if (!write(sysctl, "0")) ::_exit(101);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

TEST_F(Jail, AMissingUserNamespaceIsNamedAndTheOtherLayersHold) {
  EXPECT_EQ(in_host_without("/proc/sys/user/max_user_namespaces",
                            [] {
                              const Confinement found = probe_confinement();
                              const std::string line = found.describe();
                              const bool named =
                                  line.find("user namespace") != std::string::npos &&
                                  line.find("max_user_namespaces") != std::string::npos;
                              return named && found.holds(Layer::kCapabilities) &&
                                             found.holds(Layer::kPrivileges)
                                         ? 0
                                         : 1;
                            }),
            0);
}

TEST_F(Jail, AMissingNetworkNamespaceIsTheOnlyOneMissing) {
  EXPECT_EQ(in_host_without("/proc/sys/user/max_net_namespaces",
                            [] {
                              const Confinement found = probe_confinement();
                              const bool only =
                                  found.missing.size() == 1 ||
                                  (found.missing.size() == 2 && !found.holds(Layer::kIdentity));
                              if (!only) std::fprintf(stderr, "%s\n", found.describe().c_str());
                              return !found.holds(Layer::kNetworkNamespace) && only ? 0 : 1;
                            }),
            0);
}

}  // namespace
}  // namespace thimble::test
