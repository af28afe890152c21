// See signals.h.
#include "mcp-agent/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

namespace thimble {

Result<SignalSource> SignalSource::take_over() {
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT}) {
    // What the parent set to be ignored (nohup) stays ignored: it must not reach the server either.
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    sigaddset(&wanted, signal);
  }
  sigset_t before;
  if (::sigprocmask(SIG_BLOCK, &wanted, &before) != 0) return fail_errno("block signals");
  Fd fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return fail_errno("make a descriptor for signals");
  return SignalSource(std::move(fd), before);
}

SignalSource::SignalSource(SignalSource&& other) noexcept
    : fd_(std::move(other.fd_)), before_(other.before_) {}

SignalSource::~SignalSource() {
  if (fd_) ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<int> SignalSource::next() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info))
    return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

bool is_ending_signal(int signal) {
  return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
}

}  // namespace thimble
