// The command of a session; see process.h.
#include "tools/lab-box/process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tools/lab-box/protocol.h"

namespace thimble::lab {
namespace {

constexpr const char* kCgroupBase = "/sys/fs/cgroup/lab";

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void set_nonblocking(const Fd& fd) { ::fcntl(fd.get(), F_SETFL, O_NONBLOCK); }

void write_file(const std::string& path, std::string_view text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file && ::write(file.get(), text.data(), text.size()) < 0) return;
}

std::string make_cgroup() {
  ::mkdir(kCgroupBase, 0755);
  const std::string path = std::string(kCgroupBase) + "/" + std::to_string(::getpid());
  ::mkdir(path.c_str(), 0755);
  return path;
}

std::vector<char*> pointers(const std::vector<std::string>& list) {
  std::vector<char*> result;
  result.reserve(list.size() + 1);
  for (const auto& text : list) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

struct Streams {
  Fd in, out, err;
};

// In the child. Returns only on failure, with the text of what went wrong; errno is kept.
std::string become(const Command& command, const std::string& cgroup, const Streams& streams) {
  write_file(cgroup + "/cgroup.procs", "0");
  ::setsid();
  ::dup2(streams.in.get(), STDIN_FILENO);
  ::dup2(streams.out.get(), STDOUT_FILENO);
  ::dup2(streams.err.get(), STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (::setgroups(command.groups.size(), command.groups.data()) != 0 ||
      ::setresgid(command.gid, command.gid, command.gid) != 0 ||
      ::setresuid(command.uid, command.uid, command.uid) != 0) {
    return "take the caller's user and groups";
  }
  if (::chdir(command.directory.c_str()) != 0) {
    return "enter " + command.directory + " (the box has a /tmp of its own)";
  }
  auto environment = pointers(command.environment);
  auto arguments = pointers(command.arguments);
  ::clearenv();
  for (char* variable : environment) {
    if (variable != nullptr) ::putenv(variable);  // execvp looks for the command in this PATH
  }
  ::execvp(arguments[0], arguments.data());
  return command.arguments[0];
}

}  // namespace

Result<Process> Process::start(const Command& command) {
  auto in = make_pipe();
  auto out = make_pipe();
  auto err = make_pipe();
  auto failure = make_pipe();
  if (!in || !out || !err || !failure) return fail("out of descriptors in the box");
  Process process;
  process.cgroup_ = make_cgroup();
  const Streams ends{std::move(in->read), std::move(out->write), std::move(err->write)};
  process.pid_ = ::fork();
  if (process.pid_ < 0) return fail_errno("start a process in the box");
  if (process.pid_ == 0) {
    const std::string what = become(command, process.cgroup_, ends);
    const int status = errno == ENOENT ? kNotFound : kCannotExecute;
    const std::string note = what + ": " + std::strerror(errno);
    if (::write(failure->write.get(), note.data(), note.size()) < 0) ::_exit(status);
    ::_exit(status);
  }
  process.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid_, 0)));
  failure->write.reset();
  char text[4096];
  const ssize_t n = ::read(failure->read.get(), text, sizeof(text));
  if (n > 0) process.note.assign(text, static_cast<size_t>(n));
  process.standard_input = std::move(in->write);
  process.standard_output = std::move(out->read);
  process.standard_error = std::move(err->read);
  set_nonblocking(process.standard_input);
  set_nonblocking(process.standard_output);
  set_nonblocking(process.standard_error);
  return process;
}

uint32_t Process::status() {
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return kLabFailure;
  pid_ = -1;
  if (WIFSIGNALED(status)) return 128 + static_cast<uint32_t>(WTERMSIG(status));
  return static_cast<uint32_t>(WEXITSTATUS(status));
}

void Process::signal(int number) const {
  if (pid_ > 0) ::kill(-pid_, number);
}

void Process::kill_all() const {
  write_file(cgroup_ + "/cgroup.kill", "1");
  signal(SIGKILL);
}

void Process::leave() const { ::rmdir(cgroup_.c_str()); }

}  // namespace thimble::lab
