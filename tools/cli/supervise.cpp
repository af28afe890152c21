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
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "tools/cli/commands.h"
#include "tools/cli/env_words.h"
#include "tools/cli/own_child.h"
#include "tools/cli/say.h"
#include "tools/cli/supervisor.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr int kReady = STDERR_FILENO + 1;
constexpr int kBacklog = 64;

// Two sockets in the VM's folder: one for the server's clients, which the supervisor has, and one
// for `thimble exec`, which `thimble run` has.
Result<Fd> listen_for(const Launched& launched, const char* name, int type) {
  const auto folder = launched.folder();
  if (!folder) return std::unexpected(folder.error());
  return listen_in(*folder, name, type, kBacklog);
}

// The next server's values are not to be read in the environment of a process that lives on.
void forget_environment() {
  for (char** one = environ; *one != nullptr; ++one) std::memset(*one, 0, std::strlen(*one));
}

// A server that nobody can reach or stop any more is of no use to anybody: it goes with us.
Result<OwnChild> start_run(Arguments arguments, const Fd& ready, const Fd& exec) {
  arguments.insert(arguments.begin(), {"run", "--verbose", "--ready-fd", std::to_string(kReady),
                                       "--exec-fd", std::to_string(kReady + 1)});
  auto run =
      start_own_child({.arguments = std::move(arguments), .passed = {ready.get(), exec.get()}});
  if (run) ::fcntl(run->input.get(), F_SETFL, O_NONBLOCK);
  return run;
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
  auto listener = listen_for(*launched, "socket", SOCK_STREAM);
  if (!listener) return std::unexpected(listener.error());
  auto exec = listen_for(*launched, "exec", SOCK_SEQPACKET);
  if (!exec) return std::unexpected(exec.error());
  auto run = start_run(arguments, ready, *exec);
  if (!run) return std::unexpected(run.error());
  ready.reset();
  exec->reset();
  forget_environment();
  const int status =
      supervise(*launched, std::move(*run), std::move(*listener), std::move(signals));
  for (const char* socket : {"socket", "exec"}) ::unlink(launched->path(socket).c_str());
  facts["ended"] = ::time(nullptr);
  facts["exit_status"] = status;
  return launched->write_facts(facts);
}

}  // namespace

int supervise_command(const Arguments& arguments) {
  if (arguments.empty() || ::fcntl(kReady, F_GETFD) < 0) {
    say("supervise: it is started by thimble launch, and by nobody else");
    return kExitUsage;
  }
  Fd ready(kReady);
  ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
  auto done = supervise_named(arguments.front(), {arguments.begin() + 1, arguments.end()}, ready);
  if (done) return EXIT_SUCCESS;
  if (ready) (void)!::write(ready.get(), done.error().message.data(), done.error().message.size());
  return EXIT_FAILURE;
}

}  // namespace thimble::cli
