// Processes beside the server, for whoever asks by a unix socket (exec_wire.h): each client has
// one, gets its streams, and hears of its end. One that is gone takes its process with it.
//
//   kAsking ── start ── kStarting ── started ── kRunning ── ended: told, and free
//                           └────────── the client is gone: kAbandoned ── ended: free
//
// It has no loop of its own: entries() says what to poll for, serve() takes what poll(2) answered.
// One thread.
#pragma once

#include <poll.h>

#include <array>
#include <chrono>
#include <optional>
#include <span>

#include "pool/guest/exec_wire.h"
#include "pool/guest/guest_session.h"

namespace thimble {

class ExecService {
 public:
  using Clock = std::chrono::steady_clock;

  // `listener`: SOCK_SEQPACKET, for its owner alone. What a client does not say of its process is
  // that of `server`. `grace`: from SIGHUP to SIGKILL, for a process whose client is gone.
  ExecService(Fd listener, ServerSpec server,
              std::chrono::milliseconds grace = std::chrono::seconds(5));

  static constexpr size_t kEntries = 1 + protocol::kMaxProcesses;
  [[nodiscard]] std::array<pollfd, kEntries> entries() const;
  // To be called while the guest's server runs: what comes earlier waits in the socket.
  void serve(std::span<const pollfd, kEntries> answered, GuestSession& guest);

  // Of a process that is not the server.
  void on_guest(const GuestEvent& event);

  // When on_deadline() is due: a process that does not end without its client is killed.
  [[nodiscard]] std::optional<Clock::time_point> deadline() const;
  void on_deadline(GuestSession& guest);

 private:
  struct Client {
    enum class State { kFree, kAsking, kStarting, kRunning, kAbandoned };
    State state = State::kFree;
    Fd socket = {};
    uint32_t process = 0;
    std::optional<Clock::time_point> kill_at = {};
  };

  void accept();
  void serve_client(Client& client, GuestSession& guest);
  void start(Client& client, const ExecWords& words, GuestSession& guest);
  Result<void> start_process(Client& client, const ExecRequest& request, GuestSession& guest);
  void on_words(Client& client, const ExecWords& words, GuestSession& guest);
  void abandon(Client& client, GuestSession& guest) const;
  static void tell(const Client& client, const ExecWords& words);
  [[nodiscard]] ServerSpec spec_of(const ExecRequest& request) const;

  Fd listener_;
  ServerSpec server_;
  std::chrono::milliseconds grace_;
  std::array<Client, protocol::kMaxProcesses> clients_;
};

}  // namespace thimble
