// See pool_state.h.
#include "tools/bench/programs/pool_state.h"

#include <chrono>
#include <nlohmann/json.hpp>

namespace thimble::bench {

Result<DaemonClient> connect_to_pool(const std::string& folder) {
  const auto opened = OwnedFolder::open(folder);
  if (!opened) return std::unexpected(opened.error());
  auto client = DaemonClient::connect(*opened);
  if (!client) return std::unexpected(client.error());
  if (!*client) return fail("no daemon serves " + folder);
  return std::move(**client);
}

Result<bool> pool_is_settled(const std::string& folder, bool with_claimed) {
  auto client = connect_to_pool(folder);
  if (!client) return std::unexpected(client.error());
  auto reply = client->ask({}, std::chrono::seconds(60));
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
