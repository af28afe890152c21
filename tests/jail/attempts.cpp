// See attempts.h.
#include "tests/jail/attempts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace thimble::test {

namespace {

bool opens(const char* path) {
  const long fd = ::syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
  if (fd >= 0) ::close(static_cast<int>(fd));
  return fd >= 0;
}

bool opens_host_files(const World& /*world*/) {
  return opens("/etc/passwd") || opens("/dev/kvm") || opens("../../../etc/passwd") ||
         opens("/usr/bin/env") || opens("/tmp");
}

bool reads_processes(const World& world) {
  const std::string folder = "/proc/" + std::to_string(world.parent);
  return opens("/proc/self/status") || opens("/proc/1/status") ||
         opens((folder + "/environ").c_str());
}

bool creates_a_file(const World& /*world*/) {
  return ::syscall(SYS_openat, AT_FDCWD, "/new", O_CREAT | O_RDWR, 0600) >= 0 ||
         ::syscall(SYS_openat, AT_FDCWD, "/", O_TMPFILE | O_RDWR, 0600) >= 0 ||
         ::syscall(SYS_mkdir, "/new", 0700) == 0;
}

bool kills_the_parent(const World& world) {
  return !world.jailed || ::syscall(SYS_kill, world.parent, SIGKILL) == 0;
}

bool kills_another_vm(const World& world) {
  return ::syscall(SYS_kill, world.other_vm, SIGKILL) == 0;
}

// Not tried where it would work.
bool kills_everybody(const World& world) {
  return !world.jailed || ::syscall(SYS_kill, -1, SIGKILL) == 0;
}

bool traces(const World& world) {
  return ::syscall(SYS_ptrace, PTRACE_ATTACH, world.parent, 0, 0) == 0 ||
         ::syscall(SYS_ptrace, PTRACE_SEIZE, world.other_vm, 0, 0) == 0;
}

bool reads_memory_of_others(const World& world) {
  char byte = 0;
  iovec here{&byte, 1};
  iovec there{const_cast<World*>(&world), 1};  // mapped there too: both are forks of one process
  return ::syscall(SYS_process_vm_readv, world.parent, &here, 1, &there, 1, 0) > 0 ||
         ::syscall(SYS_process_vm_readv, world.other_vm, &here, 1, &there, 1, 0) > 0;
}

bool connects_by_tcp(const World& world) {
  const int fd = static_cast<int>(::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(world.tcp_port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool connected =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  address.sin_addr.s_addr = htonl(0x08080808);
  const bool sent = ::sendto(fd, "x", 1, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                             sizeof address) > 0;
  return connected || sent;
}

bool connects_to(const sockaddr_un& address, size_t size) {
  const int fd = static_cast<int>(::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(size)) ==
         0;
}

bool connects_to_local_sockets(const World& world) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, world.abstract_name.c_str(), world.abstract_name.size());
  const bool by_abstract_name =
      connects_to(address, offsetof(sockaddr_un, sun_path) + 1 + world.abstract_name.size());
  std::memset(address.sun_path, 0, sizeof address.sun_path);
  std::memcpy(address.sun_path, world.socket_path.c_str(), world.socket_path.size());
  return connects_to(address, sizeof address) || by_abstract_name;
}

bool executes(const World& /*world*/) {
  char name[] = "sh";
  char* arguments[] = {name, nullptr};
  ::syscall(SYS_execve, "/bin/sh", arguments, nullptr);
  return false;  // or this line would not be reached
}

// Processes it may make (filters forbid it): few, and gone with it. True when there is no end.
bool makes_processes_without_end(const World& /*world*/) {
  constexpr int kFar = 1000;
  int made = 0;
  for (; made < kFar; ++made) {
    clone_args args{};
    args.exit_signal = SIGCHLD;
    const long child = ::syscall(SYS_clone3, &args, sizeof args);
    if (child == 0) {
      for (;;) ::pause();
    }
    if (child < 0) break;
  }
  return made == kFar;
}

bool mounts(const World& /*world*/) {
  return ::syscall(SYS_mount, "none", "/", "proc", 0, nullptr) == 0 ||
         ::syscall(SYS_mount, "none", "/", "tmpfs", 0, nullptr) == 0;
}

bool makes_namespaces(const World& /*world*/) {
  return ::syscall(SYS_unshare, CLONE_NEWUSER) == 0 || ::syscall(SYS_unshare, CLONE_NEWNS) == 0;
}

bool enters_namespaces(const World& world) {
  const long handle = ::syscall(SYS_pidfd_open, world.parent, 0);
  return handle >= 0 || ::syscall(SYS_setns, 0, CLONE_NEWNET) == 0;
}

bool becomes_root(const World& /*world*/) {
  return ::syscall(SYS_setuid, 0) == 0 || ::syscall(SYS_setresuid, 0, 0, 0) == 0;
}

bool breaks_out_of_chroot(const World& /*world*/) {
  return ::syscall(SYS_chroot, "/") == 0 || ::syscall(SYS_pivot_root, ".", ".") == 0;
}

bool writes_what_it_may_read(const World& world) {
  // Reopened for writing by its name under /proc, which is the usual way.
  const std::string name = "/proc/self/fd/" + std::to_string(world.read_only);
  return ::syscall(SYS_openat, AT_FDCWD, name.c_str(), O_RDWR, 0) >= 0 ||
         ::syscall(SYS_pwrite64, world.read_only, "x", 1, 0) > 0;
}

bool finds_foreign_descriptors(const World& world) {
  for (int fd = 3; fd < 1024; ++fd) {
    if (fd == world.read_only || ::syscall(SYS_fcntl, fd, F_GETFD) < 0) continue;
    // What is left is the VM channel: a socket without a name.
    sockaddr_un name{};
    socklen_t size = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return true;
    if (name.sun_family != AF_UNIX || size > sizeof name.sun_family) return true;
  }
  return false;
}

bool raises_its_limits(const World& /*world*/) {
  const std::array<uint64_t, 2> endless{~0ULL, ~0ULL};
  return ::syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, endless.data(), nullptr) == 0;
}

bool loads_code_into_the_kernel(const World& /*world*/) {
  std::array<char, 128> attributes{};
  return ::syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, attributes.data(), attributes.size()) >= 0 ||
         ::syscall(SYS_init_module, attributes.data(), attributes.size(), "") == 0;
}

constexpr std::array kAttempts{
    Attempt{"opens host files", "openat", opens_host_files},
    Attempt{"reads /proc", "openat", reads_processes},
    Attempt{"creates a file", "openat", creates_a_file},
    Attempt{"kills its parent", "kill", kills_the_parent},
    Attempt{"kills another VM", "kill", kills_another_vm},
    Attempt{"kills everybody", "kill", kills_everybody},
    Attempt{"traces others", "ptrace", traces},
    Attempt{"reads the memory of others", "process_vm_readv", reads_memory_of_others},
    Attempt{"connects by TCP", "socket", connects_by_tcp},
    Attempt{"connects to local sockets", "socket", connects_to_local_sockets},
    Attempt{"executes a program", "execve", executes},
    Attempt{"mounts", "mount", mounts},
    Attempt{"makes namespaces", "unshare", makes_namespaces},
    Attempt{"enters namespaces", "pidfd_open", enters_namespaces},
    Attempt{"becomes root", "setuid", becomes_root},
    Attempt{"changes its root", "chroot", breaks_out_of_chroot},
    Attempt{"writes what it may only read", "openat", writes_what_it_may_read},
    Attempt{"finds foreign descriptors", "fcntl", finds_foreign_descriptors},
    Attempt{"raises its limits", "prlimit64", raises_its_limits},
    Attempt{"loads code into the kernel", "bpf", loads_code_into_the_kernel},
    // Last: it leaves processes behind.
    Attempt{"makes processes without end", "clone3", makes_processes_without_end},
};

}  // namespace

std::span<const Attempt> attempts() { return kAttempts; }

}  // namespace thimble::test
