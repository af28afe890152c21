// See claimed_server.h.
#include "tools/bench/programs/claimed_server.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <span>

#include "guest-init/protocol.h"
#include "pool/daemon/daemon_client.h"
#include "tools/bench/programs/pool_state.h"

namespace thimble::bench {

namespace {

constexpr std::chrono::seconds kClaimPatience{60};
constexpr int kPatienceMs = 60'000;
constexpr size_t kEntropyBytes = 64;
constexpr size_t kChunk = size_t{64} * 1024;

Result<GuestIdentity> make_identity() {
  GuestIdentity identity;
  identity.hostname = "thimble";
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  identity.wall_clock_ns =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  identity.entropy.resize(kEntropyBytes);
  if (::getrandom(identity.entropy.data(), kEntropyBytes, 0) != kEntropyBytes) {
    return fail_errno("get random bytes for the guest");
  }
  return identity;
}

}  // namespace

Result<ClaimedServer> ClaimedServer::claim(const std::string& folder, const TemplateId& id,
                                           const std::string& line) {
  auto client = connect_to_pool(folder);
  if (!client) return std::unexpected(client.error());
  auto claimed = DaemonClient::claim(std::move(*client), id, false, "bench", kClaimPatience);
  if (!claimed.vm) return fail("claim: " + claimed.refused + claimed.unreachable);
  auto control = claimed.vm->connect(protocol::kControlPort);
  if (!control) return std::unexpected(control.error());
  ClaimedServer server(std::move(*claimed.vm), std::move(*control), line);
  while (line.empty() && server.control_.state() != GuestControl::State::kRunning) {
    if (auto served = server.serve(); !served) return std::unexpected(served.error());
  }
  if (!line.empty()) {
    if (auto answer = server.await_line(); !answer) return std::unexpected(answer.error());
  }
  return server;
}

Result<void> ClaimedServer::send(const std::string& line) {
  const std::string bytes = line + "\n";
  const ssize_t n = ::send(stdin_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (n != static_cast<ssize_t>(bytes.size())) return fail_errno("send a line to the server");
  return {};
}

Result<std::string> ClaimedServer::await_line() {
  for (;;) {
    if (const size_t end = said_.find('\n'); end != std::string::npos) {
      std::string line = said_.substr(0, end);
      said_.erase(0, end + 1);
      return line;
    }
    if (auto served = serve(); !served) return std::unexpected(served.error());
  }
}

// Waits for the server, the guest or the VMM to say something.
Result<void> ClaimedServer::serve() {
  std::array<pollfd, 4> set = {{{control_socket_.get(), POLLIN, 0},
                                {stdout_.get(), POLLIN, 0},
                                {stderr_.get(), POLLIN, 0},
                                {vm_.poll_fd(), POLLIN, 0}}};
  if (::poll(set.data(), set.size(), kPatienceMs) <= 0) return fail("the server does not answer");
  if (set[0].revents != 0) {
    if (auto done = read_control(); !done) return done;
  }
  if (set[1].revents != 0) {
    if (auto done = read_output(); !done) return done;
  }
  if (set[2].revents != 0) {
    std::array<char, kChunk> ignored;
    if (::recv(stderr_.get(), ignored.data(), ignored.size(), MSG_DONTWAIT) == 0) stderr_.reset();
  }
  while (set[3].revents != 0) {
    const auto event = vm_.next_event();
    if (!event) break;
    if (vm_.poll_fd() < 0) return fail("the VM ended: " + event->text);
  }
  return {};
}

Result<void> ClaimedServer::read_output() {
  std::array<char, kChunk> buffer;
  const ssize_t n = ::recv(stdout_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN)) return fail("the server closed its stdout");
  if (n > 0) said_.append(buffer.data(), static_cast<size_t>(n));
  return {};
}

Result<void> ClaimedServer::read_control() {
  std::array<uint8_t, kChunk> bytes;
  const ssize_t n = ::recv(control_socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n == 0) return fail("the guest closed its control channel");
  if (n < 0) return {};
  control_.received(std::span(bytes).first(static_cast<size_t>(n)));
  while (const auto event = control_.next_event()) {
    if (auto done = react(*event); !done) return done;
  }
  return flush_control();
}

Result<void> ClaimedServer::react(const GuestEvent& event) {
  switch (event.kind) {
    case GuestEvent::Kind::kHello:
      return greet();
    case GuestEvent::Kind::kConfigured:
      return control_.thaw({});
    case GuestEvent::Kind::kFailed:
    case GuestEvent::Kind::kBroken:
      return fail("the guest: " + event.text);
    case GuestEvent::Kind::kExited:
      return fail("the server ended");
    default:
      return {};
  }
}

// Before the hello the guest may still be losing the template's host, and streams with it.
Result<void> ClaimedServer::greet() {
  if (auto done = connect_streams(); !done) return done;
  if (!first_line_.empty()) {
    if (auto sent = send(first_line_); !sent) return sent;
  }
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  return control_.configure(*identity);
}

Result<void> ClaimedServer::connect_streams() {
  const std::array<Fd*, 3> streams = {&stdin_, &stdout_, &stderr_};
  for (uint32_t i = 0; i < streams.size(); ++i) {
    auto socket = vm_.connect(protocol::kStreamPort);
    if (!socket) return std::unexpected(socket.error());
    const protocol::StreamPreface preface{protocol::kStreamMagic, i};
    if (::send(socket->get(), &preface, sizeof preface, MSG_NOSIGNAL) != sizeof preface) {
      return fail_errno("open a stream to the guest");
    }
    *streams[i] = std::move(*socket);
  }
  return {};
}

Result<void> ClaimedServer::flush_control() {
  while (!control_.output().empty()) {
    const auto bytes = control_.output();
    const ssize_t n = ::send(control_socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return fail_errno("speak to the guest");
    control_.sent(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace thimble::bench
