// A server in a clone that a daemon of pool/ has handed out, as a program that embeds the library
// talks to it: by the daemon's socket and the guest's vsock, with no `thimble` in between.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "devices/result.h"
#include "pool/daemon/daemon_wire.h"
#include "pool/guest/guest_session.h"

namespace thimble::bench {

class ClaimedServer {
 public:
  // Claims a clone from the daemon at `socket` and tells it who it is. With a `line`, which the
  // server is sent as early as can be: until it has answered. With none: until the server runs.
  static Result<std::unique_ptr<ClaimedServer>> claim(const std::string& folder,
                                                      const TemplateId& id,
                                                      const std::string& line);
  ClaimedServer(const ClaimedServer&) = delete;
  ClaimedServer& operator=(const ClaimedServer&) = delete;

  // A line to the server, without its end; and the next one that it says.
  Result<void> send(const std::string& line);
  Result<std::string> await_line();

  [[nodiscard]] pid_t pid() { return guest_.vm().pid(); }

 private:
  // Its server runs already: it is frozen in the template.
  ClaimedServer(VmProcess vm, GuestIdentity identity)
      : guest_(std::move(vm),
               {.identity = std::move(identity), .server = ServerSpec(), .is_clone = true}) {}

  void begin(const std::string& first_line);
  void on_guest(const GuestEvent& event);
  void on_vm(const VmEvent& event);
  Result<void> serve();
  Result<void> read_output();

  GuestSession guest_;
  ServerStreams streams_;
  bool there_ = false;
  std::optional<Error> failure_;
  std::string said_;  // after the last line that was taken
};

}  // namespace thimble::bench
