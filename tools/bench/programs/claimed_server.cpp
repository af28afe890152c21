// See claimed_server.h.
#include "tools/bench/programs/claimed_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <span>

#include "pool/daemon/daemon_client.h"
#include "pool/guest/guest_identity.h"
#include "tools/bench/programs/pool_state.h"

namespace thimble::bench {

namespace {

constexpr std::chrono::seconds kClaimTimeout{60};
constexpr int kTimeoutMs = 60'000;
constexpr size_t kChunk = size_t{64} * 1024;

}  // namespace

Result<std::unique_ptr<ClaimedServer>> ClaimedServer::claim(const std::string& folder,
                                                            const TemplateId& id,
                                                            const std::string& line) {
  auto client = connect_to_pool(folder);
  if (!client) return std::unexpected(client.error());
  auto claimed = DaemonClient::claim(std::move(*client), id, false, "bench", kClaimTimeout);
  if (!claimed.vm) return fail("claim: " + claimed.refused + claimed.unreachable);
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  std::unique_ptr<ClaimedServer> server(
      new ClaimedServer(std::move(*claimed.vm), std::move(*identity)));
  server->begin(line);
  while (line.empty() && !server->there_) {
    if (auto served = server->serve(); !served) return std::unexpected(served.error());
  }
  if (!line.empty()) {
    if (auto answer = server->await_line(); !answer) return std::unexpected(answer.error());
  }
  return server;
}

Result<void> ClaimedServer::send(const std::string& line) {
  const std::string bytes = line + "\n";
  const ssize_t n = ::send(streams_.input.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
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
  std::array<pollfd, GuestSession::kEntries + 2> set{};
  std::ranges::copy(guest_.entries(), set.begin());
  set[2] = {streams_.output.get(), POLLIN, 0};
  set[3] = {streams_.error.get(), POLLIN, 0};
  if (::poll(set.data(), set.size(), kTimeoutMs) <= 0) return fail("the server does not answer");
  guest_.serve(std::span(set).first<GuestSession::kEntries>());
  if (failure_) return std::unexpected(*failure_);
  if (set[2].revents != 0) {
    if (auto done = read_output(); !done) return done;
  }
  if (set[3].revents != 0) {
    std::array<char, kChunk> ignored;
    if (::recv(streams_.error.get(), ignored.data(), ignored.size(), MSG_DONTWAIT) == 0) {
      streams_.error.reset();
    }
  }
  return {};
}

Result<void> ClaimedServer::read_output() {
  std::array<char, kChunk> buffer;
  const ssize_t n = ::recv(streams_.output.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN)) return fail("the server closed its stdout");
  if (n > 0) said_.append(buffer.data(), static_cast<size_t>(n));
  return {};
}

// The first line goes out as soon as there is something to send it by.
void ClaimedServer::begin(const std::string& first_line) {
  guest_.begin({.on_streams =
                    [this, first_line](ServerStreams streams) {
                      streams_ = std::move(streams);
                      if (first_line.empty()) return;
                      if (auto sent = send(first_line); !sent) failure_ = sent.error();
                    },
                .on_there = [this] { there_ = true; },
                .on_guest = [this](const GuestEvent& event) { on_guest(event); },
                .on_vm = [this](const VmEvent& event) { on_vm(event); },
                .on_closed = [this] { failure_ = {"the guest closed its control channel"}; },
                .on_error = [this](const Error& error) { failure_ = error; }});
}

void ClaimedServer::on_guest(const GuestEvent& event) {
  using Kind = GuestEvent::Kind;
  if (event.kind == Kind::kExited) failure_ = {"the server ended"};
  if (event.kind == Kind::kFailed || event.kind == Kind::kBroken) {
    failure_ = {"the guest: " + event.text};
  }
}

void ClaimedServer::on_vm(const VmEvent& event) {
  if (guest_.vm().poll_fd() < 0) failure_ = {"the VM ended: " + event.text};
}

}  // namespace thimble::bench
