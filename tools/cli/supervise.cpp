// `thimble supervise NAME ARGUMENTS…`: what `thimble launch` starts as a process of its own, and
// nobody else. It has the launched VM's folder, starts `thimble run ARGUMENTS…`, and is its
// supervisor (supervisor.h).
//
// Descriptor 3 is where whoever launched hears how it goes: `thimble run` says there that the
// server runs, and we what keeps us from starting it.
//
// Values of --env K=V are in neither the supervisor's words, nor its environment, nor the VM's
// folder.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "devices/base/descriptor_places.h"
#include "devices/base/pipe.h"
#include "tools/cli/commands.h"
#include "tools/cli/env_words.h"
#include "tools/cli/supervisor.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr int kReady = STDERR_FILENO + 1;
constexpr int kBacklog = 8;

Result<Fd> listen_for_client(const Launched& launched) {
  const auto folder = launched.folder();
  if (!folder) return std::unexpected(folder.error());
  return listen_in(*folder, "socket", SOCK_STREAM, kBacklog);
}

// The next server's values are not to be read in the environment of a process that lives on.
void forget_environment() {
  for (char** one = environ; *one != nullptr; ++one) std::memset(*one, 0, std::strlen(*one));
}

struct Streams {
  Pipe input;
  Pipe output;
  Pipe errors;
};

[[noreturn]] void become_run(const Streams& streams, const Fd& ready, char** words, pid_t parent) {
  // A server that nobody can reach or stop any more is of no use to anybody.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const std::array places{streams.input.read.get(), streams.output.write.get(),
                          streams.errors.write.get(), ready.get()};
  if (!place_descriptors(places, STDIN_FILENO)) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
  ::execv("/proc/self/exe", words);
  ::_exit(127);
}

Result<SupervisedRun> start_run(Arguments arguments, const Fd& ready) {
  auto input = make_pipe();
  auto output = make_pipe();
  auto errors = make_pipe();
  if (!input || !output || !errors) return fail("start the server: no more pipes");
  Streams streams{std::move(*input), std::move(*output), std::move(*errors)};
  arguments.insert(arguments.begin(),
                   {"thimble", "run", "--verbose", "--ready-fd", std::to_string(kReady)});
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (std::string& word : arguments) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t supervisor = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid == 0) become_run(streams, ready, words.data(), supervisor);
  ::fcntl(streams.input.write.get(), F_SETFL, O_NONBLOCK);
  return SupervisedRun{pid, std::move(streams.input.write), std::move(streams.output.read),
                       std::move(streams.errors.read)};
}

// Those that end the server; as a descriptor. Writing to who has left is an error, not a death.
Fd take_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ending, signal);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
  return Fd(::signalfd(-1, &ending, SFD_CLOEXEC));
}

// The server's exit status is in the facts then.
Result<void> supervise_named(const std::string& name, const Arguments& arguments, Fd& ready) {
  auto launched = Launched::find(name);
  if (!launched) return std::unexpected(launched.error());
  auto lock = launched->lock();
  if (!lock) return std::unexpected(lock.error());
  nlohmann::json facts = {{"arguments", without_env_values(arguments)},
                          {"started", ::time(nullptr)}};
  if (auto written = launched->write_facts(facts); !written) return written;
  Fd signals = take_signals();
  auto listener = listen_for_client(*launched);
  if (!listener) return std::unexpected(listener.error());
  auto run = start_run(arguments, ready);
  if (!run) return std::unexpected(run.error());
  ready.reset();
  forget_environment();
  const int status =
      supervise(*launched, std::move(*run), std::move(*listener), std::move(signals));
  ::unlink(launched->path("socket").c_str());
  facts["ended"] = ::time(nullptr);
  facts["exit_status"] = status;
  return launched->write_facts(facts);
}

}  // namespace

int supervise_command(const Arguments& arguments) {
  if (arguments.empty() || ::fcntl(kReady, F_GETFD) < 0) {
    return usage_error("thimble supervise", "it is started by thimble launch");
  }
  Fd ready(kReady);
  ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
  auto done = supervise_named(arguments.front(), {arguments.begin() + 1, arguments.end()}, ready);
  if (done) return EXIT_SUCCESS;
  if (ready) (void)!::write(ready.get(), done.error().message.data(), done.error().message.size());
  return EXIT_FAILURE;
}

}  // namespace thimble::cli
