// See detached_program.h.
#include "devices/base/detached_program.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdint>
#include <cstdlib>

#include "devices/base/argument_pointers.h"
#include "devices/base/descriptor_places.h"
#include "devices/fd.h"

namespace thimble {

namespace {

constexpr size_t kStandard = 3;
// Of each of the two processes until the exec.
constexpr size_t kStackBytes = 16384;

struct alignas(16) Stack {
  std::array<char, kStackBytes> bytes;
  void* top() { return bytes.data() + bytes.size(); }
};

// In memory that all three share until the exec.
struct Start {
  const char* file;
  char* const* arguments;
  char* const* environment;
  std::array<int, kMaxPlaced> descriptors{};  // the standard ones first
  size_t count = 0;
  bool in_root = false;
  int error = 0;
  Stack stack;  // the program's
};

// By the system call itself: libc keeps two real-time signals to itself and would leave them
// ignored.
void reset_signals() {
  const std::array<uint64_t, 4> by_default{};  // the kernel's struct sigaction
  constexpr size_t kSetBytes = 8;
  for (int signal = 1; signal < NSIG; ++signal) {
    ::syscall(SYS_rt_sigaction, signal, by_default.data(), nullptr, kSetBytes);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Nothing but system calls from here on.
int become_program(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  if (place_descriptors({start.descriptors.data(), start.count}, STDIN_FILENO) &&
      (!start.in_root || ::chdir("/") == 0)) {
    ::close_range(static_cast<unsigned>(start.count), UINT_MAX, CLOSE_RANGE_CLOEXEC);
    reset_signals();
    ::execve(start.file, start.arguments, start.environment);
  }
  start.error = errno;
  ::_exit(EXIT_FAILURE);
}

int stand_between(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  ::setsid();
  if (::clone(become_program, start.stack.top(), CLONE_VM | CLONE_VFORK | SIGCHLD, &start) < 0) {
    start.error = errno;
  }
  ::_exit(EXIT_SUCCESS);
}

// With all signals blocked: a handler would run in the child with the caller's memory.
void start_both(Start& start) {
  Stack stack;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t between = ::clone(stand_between, stack.top(), CLONE_VM | CLONE_VFORK, &start);
  if (between < 0) start.error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  while (between > 0 && ::waitpid(between, nullptr, __WCLONE) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<void> start_detached(const DetachedProgram& program) {
  if (program.passed.size() > kMaxPlaced - kStandard) return fail("too many descriptors");
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return fail_errno("open /dev/null");
  std::vector<std::string> words = program.arguments;
  std::vector<std::string> variables = program.environment;
  const std::vector<char*> arguments = argument_pointers(words);
  const std::vector<char*> environment = argument_pointers(variables);
  Start start{.file = program.file.c_str(),
              .arguments = arguments.data(),
              .environment = environment.data(),
              .in_root = program.in_root,
              .stack = {}};
  for (const int fd :
       {null.get(), null.get(), program.error_output >= 0 ? program.error_output : null.get()}) {
    start.descriptors.at(start.count++) = fd;
  }
  for (const int fd : program.passed) start.descriptors.at(start.count++) = fd;
  start_both(start);
  if (start.error != 0) return fail_errno("start a process in the background", start.error);
  return {};
}

std::vector<std::string> environment_of_this_process() {
  std::vector<std::string> variables;
  for (char** one = environ; one != nullptr && *one != nullptr; ++one) variables.emplace_back(*one);
  return variables;
}

}  // namespace thimble
