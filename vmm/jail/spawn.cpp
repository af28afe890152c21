// See spawn.h.
#include "vmm/jail/spawn.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "devices/base/descriptor_places.h"

namespace thimble {

namespace {

constexpr int kFirstDescriptor = STDERR_FILENO + 1;

// Of the child until the exec; below the waiting caller's frames.
constexpr size_t kStackBytes = 16384;
using Stack = std::array<char, kStackBytes>;

// In memory that caller and child share until the exec.
struct Start {
  const Program* program;
  int error = 0;
};

// Mounts, identity, bounding set, limits.
constexpr std::array kNeededInJail{CAP_SETGID,     CAP_SETUID,    CAP_SETPCAP,
                                   CAP_SYS_CHROOT, CAP_SYS_ADMIN, CAP_SYS_RESOURCE};

// An exec takes the capabilities of whoever is not root, and in a user namespace whose ids are not
// mapped yet nobody is: ambient ones stay.
void keep_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return;
  uint32_t kept = 0;
  for (const int capability : kNeededInJail) kept |= CAP_TO_MASK(capability);
  kept &= sets[0].permitted;  // all of them are in the first word
  if (kept == 0) return;
  sets[0].inheritable |= kept;
  if (::syscall(SYS_capset, &header, sets.data()) != 0) return;
  for (const int capability : kNeededInJail) {
    if ((kept & CAP_TO_MASK(capability)) == 0) continue;
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
}

// The program's file, out of the way of its descriptors; -1 with errno.
int place_all(const Program& program) {
  const int above = kFirstDescriptor + static_cast<int>(program.descriptors.size());
  const int file = ::fcntl(program.file, F_DUPFD_CLOEXEC, above);
  if (file < 0 || !place_descriptors(program.descriptors, kFirstDescriptor)) return -1;
  return file;
}

// In the child: system calls only, since all memory is the caller's.
int begin(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  if (start.program == nullptr) ::_exit(EXIT_SUCCESS);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  keep_capabilities();
  const int file = place_all(*start.program);
  const std::array arguments{start.program->name, static_cast<const char*>(nullptr)};
  const std::array environment{static_cast<const char*>(nullptr)};
  if (file >= 0) {
    ::syscall(SYS_execveat, file, "", arguments.data(), environment.data(), AT_EMPTY_PATH);
  }
  start.error = errno;
  ::_exit(EXIT_FAILURE);
}

// clone3() is the only call that knows cgroups, and libc has no function for it. The child must not
// come back into a frame that the caller still needs, so it leaves from within the assembly.
pid_t clone_onto(Stack& stack, uint64_t flags, int cgroup, Start& start) {
  clone_args args{};
  args.flags = flags;
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<uint64_t>(stack.data());
  args.stack_size = stack.size();
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  long made = SYS_clone3;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "mov %[start], %%rdi\n\t"
      "call *%[begin]\n\t"
      "ud2\n"
      "1:"
      : "+a"(made)
      : "D"(&args), "S"(sizeof args), [start] "r"(&start), [begin] "r"(&begin)
      : "rcx", "r11", "memory", "cc");
  if (made >= 0) return static_cast<pid_t>(made);
  errno = static_cast<int>(-made);
  return -1;
}

void reap(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

Spawned spawn(const Program* program, uint64_t flags, int cgroup) {
  alignas(16) Stack stack;
  Start start{.program = program};
  // A handler would run in the child with the caller's memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  flags |= CLONE_VM | CLONE_VFORK;
  Spawned spawned;
  spawned.pid = clone_onto(stack, flags, cgroup, start);
  if (spawned.pid < 0 && errno == ENOSYS && cgroup < 0) {
    // Some containers' filters answer "no such call", since they cannot look into its arguments.
    spawned.pid =
        ::clone(begin, stack.data() + stack.size(), static_cast<int>(flags | SIGCHLD), &start);
  }
  spawned.error = spawned.pid < 0 ? errno : start.error;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (spawned.pid >= 0 && start.error != 0) {
    reap(std::exchange(spawned.pid, -1));
    spawned.program_refused = true;
  }
  return spawned;
}

}  // namespace thimble
