#include "guest-init/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "guest-init/account.h"
#include "guest-init/lookup.h"
#include "guest-init/parent.h"

namespace thimble::init {

namespace {

// Less backpressure churn than the usual 64 KiB; memory is used only for what waits in a pipe.
constexpr int kPipeBytes = 256 * 1024;

struct Pipe {
  int read_end = -1;
  int write_end = -1;
};

void close_pipe(Pipe& pipe) {
  if (pipe.read_end >= 0) close(pipe.read_end);
  if (pipe.write_end >= 0) close(pipe.write_end);
  pipe = {};
}

bool make_pipe(Pipe& pipe) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return false;
  pipe = {ends[0], ends[1]};
  return true;
}

// The master's descriptors become init's ends, and those of the terminal itself the server's.
bool make_terminal(const protocol::Window& window, Pipe& input, Pipe& output, Pipe& error) {
  input.write_end = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (input.write_end < 0) return false;
  int lock = 0;
  winsize size = {};
  size.ws_row = window.rows;
  size.ws_col = window.columns;
  if (ioctl(input.write_end, TIOCSPTLCK, &lock) < 0) return false;
  if (ioctl(input.write_end, TIOCSWINSZ, &size) < 0) return false;
  // By the master, since the server's root may have another /dev/pts.
  input.read_end = ioctl(input.write_end, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (input.read_end < 0) return false;
  output.read_end = fcntl(input.write_end, F_DUPFD_CLOEXEC, 3);
  output.write_end = fcntl(input.read_end, F_DUPFD_CLOEXEC, 3);
  error.read_end = fcntl(input.read_end, F_DUPFD_CLOEXEC, 3);
  error.write_end = fcntl(input.read_end, F_DUPFD_CLOEXEC, 3);
  return error.read_end >= 0 && output.read_end >= 0 && output.write_end >= 0 &&
         error.write_end >= 0;
}

// Until all others who have its write end have closed that.
void await_end(Pipe& pipe) {
  close(pipe.write_end);
  char byte;
  while (read(pipe.read_end, &byte, 1) < 0 && errno == EINTR) {
  }
}

// All pipes of one start: stdio, and the one that carries the child's failure (or closes on exec).
struct Pipes {
  Pipe input;
  Pipe output;
  Pipe error;
  Pipe verdict;

  bool make(const Start& start) {
    if (start.has_terminal) {
      return make_terminal(start.window, input, output, error) && make_pipe(verdict);
    }
    if (!make_pipe(input) || !make_pipe(output) || !make_pipe(error)) return false;
    // They stay smaller where that is not allowed.
    fcntl(input.read_end, F_SETPIPE_SZ, kPipeBytes);
    fcntl(output.read_end, F_SETPIPE_SZ, kPipeBytes);
    fcntl(error.read_end, F_SETPIPE_SZ, kPipeBytes);
    return make_pipe(verdict);
  }

  void close_all() {
    close_pipe(input);
    close_pipe(output);
    close_pipe(error);
    close_pipe(verdict);
  }
};

void write_word(const char* path, const char* word) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, word, strlen(word)) < 0) {
    // Without the cgroup the server still runs; init has told the host already.
  }
  close(fd);
}

bool set_limits(const Start& start, Failure& failure) {
  for (uint32_t i = 0; i < start.rlimit_count; ++i) {
    const protocol::Rlimit& limit = start.rlimits[i];
    // The system call itself: the C libraries disagree about the type of the resource.
    const uint64_t value[2] = {limit.soft, limit.hard};
    if (syscall(SYS_prlimit64, 0, limit.resource, value, nullptr) < 0) {
      return fail(failure, protocol::kStepRlimit, errno, "set resource limit %u", limit.resource);
    }
  }
  return true;
}

bool enter_workdir(const Start& start, Failure& failure) {
  if (chdir(start.workdir) == 0) return true;
  return fail(failure, protocol::kStepWorkdir, errno, "enter directory %.200s", start.workdir);
}

// Only returns when nothing could be executed.
bool execute(const Start& start, Failure& failure) {
  const char* const command = start.arguments[0];
  CommandSearch search(command, find_variable(start.environment, "PATH"));
  char candidate[PATH_MAX];
  int denied = 0;
  while (search.next(candidate, sizeof candidate)) {
    execve(candidate, start.arguments, start.environment);
    const int error = errno;
    if (error == ENOENT && access(candidate, F_OK) == 0) {
      return fail(failure, protocol::kStepExec, error, "exec %.150s: its interpreter is missing",
                  candidate);
    }
    if (error == EACCES) denied = error;
    if (error == EACCES || error == ENOENT || error == ENOTDIR) continue;
    return fail(failure, protocol::kStepExec, error, "exec %.200s", candidate);
  }
  return fail(failure, protocol::kStepExec, denied ? denied : ENOENT, "exec %.200s", command);
}

void reset_signals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int number = 1; number <= 64; ++number) sigaction(number, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// The session's, so that ^C and a resize reach whoever is in its foreground; and its user's, as
// login(1) makes it.
bool take_terminal(int terminal, const Account* account, Failure& failure) {
  if (ioctl(terminal, TIOCSCTTY, 0) == 0 &&
      (!account || fchown(terminal, account->uid, account->gid) == 0)) {
    return true;
  }
  return fail(failure, protocol::kStepFork, errno, "take the terminal");
}

// dup2 onto 0, 1, 2 is safe only when no source is among them: init keeps those occupied.
bool place_stdio(const Pipes& pipes) {
  return dup2(pipes.input.read_end, 0) >= 0 && dup2(pipes.output.write_end, 1) >= 0 &&
         dup2(pipes.error.write_end, 2) >= 0;
}

// What the verdict pipe carries: first who the server is, or 0; then the failure, or nothing if the
// program was executed. Both are less than PIPE_BUF: all or nothing.
void tell_server(const Pipes& pipes, pid_t server) {
  if (write(pipes.verdict.write_end, &server, sizeof server) < 0) _exit(126);
}

[[noreturn]] void give_up(const Pipes& pipes, const Failure& failure) {
  // When even this fails, init sees a child that just ended.
  if (write(pipes.verdict.write_end, &failure, sizeof failure) < 0) _exit(126);
  _exit(127);
}

// `settled`: ends when the parent has become what the server will find it to be.
[[noreturn]] void run_child(const Start& start, const ChildSettings& settings,
                            const Account* account, const Pipes& pipes, Pipe settled) {
  Failure failure;
  tell_server(pipes, getpid());
  setsid();
  if (settings.cgroup_procs) write_word(settings.cgroup_procs, "0");
  if (settings.oom_score_adj) write_word(settings.oom_score_adj, "0");
  reset_signals();
  umask(022);
  if (start.has_terminal && !take_terminal(pipes.input.read_end, account, failure)) {
    give_up(pipes, failure);
  }
  if (!place_stdio(pipes)) {
    fail(failure, protocol::kStepFork, errno, "connect the server's stdio");
  } else if (set_limits(start, failure) && (!account || become(*account, failure)) &&
             enter_workdir(start, failure)) {
    await_end(settled);
    execute(start, failure);
  }
  give_up(pipes, failure);
}

int start_child(const Start& start, const ChildSettings& settings, const Account* account,
                const Pipes& pipes, Failure& failure) {
  Pipe settled;
  const pid_t server = make_pipe(settled) ? fork() : -1;
  if (server == 0) run_child(start, settings, account, pipes, settled);
  if (server < 0) fail(failure, protocol::kStepFork, errno, "fork");
  return server;  // the pipe ends with all descriptors of the parent: end_as()
}

// The process between init and the server (parent.h): all that it changes is its own.
[[noreturn]] void run_parent(Start& start, const ChildSettings& settings, const Pipes& pipes) {
  static Account account;
  Failure failure;
  block_all_signals();
  const bool found = !start.user || (find_account(start.user, settings.passwd_path,
                                                  settings.group_path, account, failure) &&
                                     settle_account(account, start, failure));
  const Account* const user = start.user ? &account : nullptr;
  if (user && found) list_account(account, settings.passwd_path);
  const pid_t server = found ? start_child(start, settings, user, pipes, failure) : -1;
  if (server < 0) {
    tell_server(pipes, 0);
    give_up(pipes, failure);
  }
  // A server may look after its parent, which takes the same user. The server says what is wrong.
  Failure unheard;
  if (user && !become(*user, unheard)) _exit(126);
  end_as(server);
}

bool read_whole(int fd, void* value, size_t size) {
  ssize_t got = 0;
  do {
    got = read(fd, value, size);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(size);
}

// True when the verdict pipe closed by exec. A child killed before it could tell looks the same and
// is reported as exited soon after.
bool await_exec(int verdict, pid_t& server, Failure& failure) {
  Failure told;
  server = 0;
  if (!read_whole(verdict, &server, sizeof server)) return true;
  if (!read_whole(verdict, &told, sizeof told)) return true;
  told.text[sizeof told.text - 1] = '\0';
  failure = told;
  return false;
}

bool set_nonblocking(int fd) { return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0; }

}  // namespace

bool start_server(Start& start, const ChildSettings& settings, ServerProcess& server,
                  ServerPipes& pipes, Failure& failure) {
  Pipes all;
  // The terminal itself is the server's too, who expects to wait for it.
  if (!all.make(start) || !set_nonblocking(all.input.write_end) ||
      !set_nonblocking(all.output.read_end) ||
      (!start.has_terminal && !set_nonblocking(all.error.read_end))) {
    fail(failure, protocol::kStepFork, errno,
         start.has_terminal ? "make a terminal" : "make pipes");
    all.close_all();
    return false;
  }
  server.parent = fork();
  if (server.parent == 0) run_parent(start, settings, all);
  if (server.parent < 0) {
    fail(failure, protocol::kStepFork, errno, "fork");
    all.close_all();
    return false;
  }
  close(all.verdict.write_end);
  all.verdict.write_end = -1;
  const bool started = await_exec(all.verdict.read_end, server.pid, failure);
  if (started) {
    pipes.to_stdin = all.input.write_end;
    pipes.from_stdout = all.output.read_end;
    (start.has_terminal ? pipes.terminal : pipes.from_stderr) = all.error.read_end;
    all.input.write_end = all.output.read_end = all.error.read_end = -1;
  } else {
    waitpid(server.parent, nullptr, 0);
    server = {};
  }
  all.close_all();
  return started;
}

bool reap(pid_t& pid, int& status) {
  do {
    pid = waitpid(-1, &status, WNOHANG);
  } while (pid < 0 && errno == EINTR);
  return pid > 0;
}

}  // namespace thimble::init
