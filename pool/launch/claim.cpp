// See claim.h.
#include "pool/launch/claim.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "pool/daemon/daemon_client.h"
#include "pool/daemon/daemon_start.h"
#include "pool/daemon/runtime_folder.h"

namespace thimble::launch {

namespace {

// Longer than the pool waits for a warm VM.
constexpr std::chrono::seconds kClaimTimeout{70};

enum class Wanted { kNo, kExisting, kStart };

Wanted wanted(const ServerConfig& config) {
  const char* variable = std::getenv("THIMBLE_DAEMON");
  const std::string_view value = variable == nullptr ? "" : variable;
  if (config.no_daemon || value == "off") return Wanted::kNo;
  return value == "existing" ? Wanted::kExisting : Wanted::kStart;
}

}  // namespace

Result<std::optional<VmProcess>> claim_from_daemon(const TemplateId& id, const ServerConfig& config,
                                                   bool replaceable, const Say& say) {
  // A user who wants to know hears why.
  const auto without_daemon = [&](const std::string& why) {
    if (config.verbose) say("without the daemon: " + why);
    return std::nullopt;
  };
  const Wanted want = wanted(config);
  if (want == Wanted::kNo) return without_daemon("it is switched off");
  auto folder = runtime_folder();
  if (!folder) return without_daemon(folder.error().message);
  auto client = DaemonClient::connect(*folder);
  if (!client) return without_daemon(client.error().message);
  if (!*client) {
    if (want == Wanted::kExisting) return without_daemon("none runs");
    auto started = start_daemon(*folder, {"--warm", id.store, id.name});
    return without_daemon(started ? "it is being started" : started.error().message);
  }
  auto claim = DaemonClient::claim(std::move(**client), id, config.verbose, "", kClaimTimeout);
  if (claim.because_of_template && replaceable) return without_daemon(claim.refused);
  if (!claim.refused.empty()) return fail(claim.refused);
  if (!claim.vm) return without_daemon(claim.unreachable);
  if (config.require_confinement && !claim.exposed.empty()) {
    return fail("the host refuses to confine the VMM: " + claim.exposed);
  }
  return std::move(claim.vm);
}

}  // namespace thimble::launch
