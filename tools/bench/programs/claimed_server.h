// A server in a clone that a daemon of pool/ has handed out, as a program that embeds the library
// talks to it: by the daemon's socket and the guest's vsock, with no `thimble` in between.
#pragma once

#include <string>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/daemon/daemon_wire.h"
#include "pool/guest/guest_control.h"
#include "pool/vm/vm_process.h"

namespace thimble::bench {

class ClaimedServer {
 public:
  // Claims a clone from the daemon at `socket` and tells it who it is. With a `line`, which the
  // server is sent as early as can be: until it has answered. With none: until the server runs.
  static Result<ClaimedServer> claim(const std::string& folder, const TemplateId& id,
                                     const std::string& line);

  // A line to the server, without its end; and the next one that it says.
  Result<void> send(const std::string& line);
  Result<std::string> await_line();

  [[nodiscard]] pid_t pid() const { return vm_.pid(); }

 private:
  ClaimedServer(VmProcess vm, Fd control, std::string line)
      : vm_(std::move(vm)), control_socket_(std::move(control)), first_line_(std::move(line)) {}

  Result<void> serve();
  Result<void> read_control();
  Result<void> react(const GuestEvent& event);
  Result<void> greet();
  Result<void> connect_streams();
  Result<void> flush_control();
  Result<void> read_output();

  VmProcess vm_;
  GuestControl control_;
  Fd control_socket_;
  Fd stdin_;
  Fd stdout_;
  Fd stderr_;
  std::string first_line_;
  std::string said_;  // after the last line that was taken
};

}  // namespace thimble::bench
