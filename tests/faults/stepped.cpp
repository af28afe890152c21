// See stepped.h.
#include "tests/faults/stepped.h"

#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>
#include <vector>

namespace thimble::test {

namespace {

// What the tracer says when all have ended.
struct Message {
  unsigned steps = 0;
  int reached = 0;
  int call = -1;
  int status = 0;
};

pid_t process_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("Tgid:")) return static_cast<pid_t>(std::atol(line.c_str() + 5));
  }
  return thread;
}

// The tracer's view of the tree. One thread, which is the one that seized it.
class Tracer {
 public:
  Tracer(const StepPlan& plan, pid_t body) : plan_(plan), body_(body) { number_of_[body] = 0; }

  // All that has happened is looked at before anything goes on: else one process that asks again
  // and again, each time a step, would be all that is ever seen, and the end that it asks for
  // never.
  Message run() {
    while (wait_for_some()) {
      for (const Change& change : std::exchange(changes_, {})) {
        if (WIFSTOPPED(change.status)) {
          on_stop(change.thread, change.status);
        } else if (change.thread == body_) {
          message_.status = change.status;
        }
      }
    }
    return message_;
  }

 private:
  struct Change {
    pid_t thread;
    int status;  // as wait(2) gives it
  };

  // False when none of the tree is left.
  bool wait_for_some() {
    for (;;) {
      int status = 0;
      const pid_t thread = ::waitpid(-1, &status, __WALL | (changes_.empty() ? 0 : WNOHANG));
      if (thread < 0 && errno == EINTR) continue;
      if (thread <= 0) return !changes_.empty();
      changes_.push_back({thread, status});
    }
  }

  void on_stop(pid_t thread, int status) {
    const int event = status >> 16;
    int signal = 0;
    switch (event) {
      case PTRACE_EVENT_SECCOMP:
        on_step(thread);
        break;
      case PTRACE_EVENT_FORK:
      case PTRACE_EVENT_VFORK:
      case PTRACE_EVENT_CLONE:
        on_fork(thread);
        break;
      case PTRACE_EVENT_STOP:
        meet(thread);  // perhaps before whoever made it is heard of
        break;
      case PTRACE_EVENT_EXEC:
        break;
      default:
        signal = WSTOPSIG(status);
    }
    ::ptrace(PTRACE_CONT, thread, nullptr, signal);
  }

  void on_fork(pid_t thread) {
    unsigned long made = 0;
    if (::ptrace(PTRACE_GETEVENTMSG, thread, nullptr, &made) != 0) return;
    meet(static_cast<pid_t>(made));
  }

  void meet(pid_t thread) {
    if (number_of_.contains(thread) || process_of(thread) != thread) return;
    number_of_[thread] = next_number_++;
  }

  void on_step(pid_t thread) {
    const pid_t process = process_of(thread);
    const auto found = number_of_.find(process);
    if (found == number_of_.end() || found->second != plan_.victim) return;
    if (++message_.steps != plan_.at) return;
    message_.reached = 1;
    user_regs_struct registers{};
    if (::ptrace(PTRACE_GETREGS, thread, nullptr, &registers) == 0) {
      message_.call = static_cast<int>(registers.orig_rax);
    }
    if (plan_.error == 0) {
      ::kill(process, SIGKILL);
      return;
    }
    registers.orig_rax = static_cast<unsigned long long>(-1);
    registers.rax = static_cast<unsigned long long>(-plan_.error);
    ::ptrace(PTRACE_SETREGS, thread, nullptr, &registers);
  }

  StepPlan plan_;
  pid_t body_;
  std::map<pid_t, unsigned> number_of_;
  unsigned next_number_ = 1;
  std::vector<Change> changes_;
  Message message_;
};

[[noreturn]] void be_traced(const StepPlan& plan, const std::function<int()>& body, int go) {
  char byte = 0;
  if (::read(go, &byte, 1) != 1) ::_exit(250);
  ::close(go);
  if (!stop_at_steps(plan.steps)) ::_exit(251);
  ::_exit(body());
}

struct Ends {
  Fd read;
  Fd write;
};
Ends make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  return {Fd(ends[0]), Fd(ends[1])};
}

[[noreturn]] void be_tracer(const StepPlan& plan, const std::function<int()>& body, int report) {
  // The tree's signals are not for whoever watches it.
  ::signal(SIGINT, SIG_IGN);
  Ends go = make_pipe();
  const pid_t child = ::fork();
  if (child < 0) ::_exit(1);
  if (child == 0) {
    ::signal(SIGINT, SIG_DFL);
    ::close(report);
    go.write.reset();
    be_traced(plan, body, go.read.get());
  }
  go.read.reset();
  constexpr long kOptions = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                            PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
  if (::ptrace(PTRACE_SEIZE, child, nullptr, kOptions) != 0) ::_exit(1);
  (void)!::write(report, &child, sizeof child);
  (void)!::write(go.write.get(), "g", 1);
  go.write.reset();
  const Message message = Tracer(plan, child).run();
  (void)!::write(report, &message, sizeof message);
  ::_exit(0);
}

std::string name_of(int call) {
  char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
  std::string text = name != nullptr ? name : "?";
  std::free(name);
  return text;
}

std::vector<std::string> traced_by(pid_t tracer) {
  std::vector<std::string> all;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", code)) {
    std::ifstream status(entry.path() / "status");
    std::string line;
    std::string name;
    while (std::getline(status, line)) {
      if (line.starts_with("Name:")) name = line.substr(6);
      if (line == "TracerPid:\t" + std::to_string(tracer)) {
        all.push_back(entry.path().filename().string() + " " + name);
      }
    }
  }
  return all;
}

}  // namespace

Result<SteppedTree> SteppedTree::start(const StepPlan& plan, const std::function<int()>& body) {
  Ends report = make_pipe();
  if (!report.read) return fail_errno("make a pipe");
  const pid_t tracer = ::fork();
  if (tracer < 0) return fail_errno("start the tracer");
  if (tracer == 0) {
    report.read.reset();
    be_tracer(plan, body, report.write.get());
  }
  report.write.reset();
  pid_t traced = -1;
  if (::read(report.read.get(), &traced, sizeof traced) != sizeof traced) {
    ::waitpid(tracer, nullptr, 0);
    return fail("trace a process: this host refuses");
  }
  return SteppedTree(tracer, traced, std::move(report.read));
}

SteppedTree::SteppedTree(SteppedTree&& other) noexcept
    : tracer_(std::exchange(other.tracer_, -1)),
      body_(other.body_),
      report_(std::move(other.report_)) {}

SteppedTree::~SteppedTree() {
  if (tracer_ > 0) finish(std::chrono::milliseconds(0));
}

StepReport SteppedTree::finish(std::chrono::milliseconds timeout) {
  StepReport report;
  pollfd ready{report_.get(), POLLIN, 0};
  Message message;
  report.all_gone = ::poll(&ready, 1, static_cast<int>(timeout.count())) == 1 &&
                    ::read(report_.get(), &message, sizeof message) == sizeof message;
  if (!report.all_gone) report.left = traced_by(tracer_);
  ::kill(tracer_, SIGKILL);
  ::waitpid(std::exchange(tracer_, -1), nullptr, 0);
  report.steps = message.steps;
  report.reached = message.reached != 0;
  report.status = message.status;
  if (report.reached) report.call = name_of(message.call);
  return report;
}

}  // namespace thimble::test
