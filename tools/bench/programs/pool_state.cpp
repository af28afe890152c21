// See pool_state.h.
#include "tools/bench/programs/pool_state.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "pool/daemon/daemon_client.h"

namespace thimble::bench {

Result<bool> pool_is_settled(const std::string& socket, bool with_claimed) {
  auto client = DaemonClient::connect(socket);
  if (!client) return std::unexpected(client.error());
  if (!*client) return fail("no daemon serves " + socket);
  auto reply = (*client)->ask({}, std::chrono::seconds(60));
  if (!reply) return std::unexpected(reply.error());
  const auto status = nlohmann::json::parse(*reply, nullptr, false);
  if (!status.is_object() || !status.contains("vms")) return fail("a status without VMs");
  bool ready = false;
  for (const auto& vm : status["vms"]) {
    const auto state = vm.value("state", "");
    if (state != "ready" && (state != "claimed" || !with_claimed)) return false;
    ready = ready || state == "ready";
  }
  return ready;
}

}  // namespace thimble::bench
