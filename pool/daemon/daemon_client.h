// A client's side of the daemon (daemon_wire.h). Nothing here starts one.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"
#include "pool/daemon/daemon_wire.h"
#include "pool/vm/vm_process.h"

namespace thimble {

class DaemonClient {
 public:
  // Nothing when no daemon serves `folder` (runtime_folder.h); an error when somebody else does.
  static Result<std::optional<DaemonClient>> connect(const OwnedFolder& folder);

  // The reply as it came, a JSON object; an error when the daemon refused, or did not answer in
  // time.
  Result<std::string> ask(const DaemonRequest& request, std::chrono::milliseconds timeout);

  struct Claim {
    std::optional<VmProcess> vm;
    std::string exposed;  // layers of confinement that the host refused it
    // Set when the daemon said no, and why. Without it and without a VM the daemon is gone or does
    // not answer: then a VM of one's own is in order.
    std::string refused;
    bool because_of_template = false;  // not of a limit
    std::string unreachable;
  };
  // The VM is given back when it goes.
  static Claim claim(DaemonClient client, const TemplateId& id, bool console, std::string label,
                     std::chrono::milliseconds timeout);

 private:
  explicit DaemonClient(Fd socket) : socket_(std::move(socket)) {}
  Result<Datagram> exchange(const DaemonRequest& request, std::chrono::milliseconds timeout);

  Fd socket_;
};

}  // namespace thimble
