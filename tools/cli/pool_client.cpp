// See pool_client.h.
#include "tools/cli/pool_client.h"

#include <cstdlib>

#include "pool/daemon/daemon_client.h"
#include "pool/daemon/daemon_start.h"
#include "pool/daemon/runtime_folder.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

// Longer than the pool waits for a warm VM.
constexpr std::chrono::seconds kClaimTimeout{70};

enum class Wanted { kNo, kExisting, kStart };

Wanted wanted(const RunOptions& options) {
  const char* variable = std::getenv("THIMBLE_DAEMON");
  const std::string_view value = variable == nullptr ? "" : variable;
  if (options.no_daemon || value == "off") return Wanted::kNo;
  return value == "existing" ? Wanted::kExisting : Wanted::kStart;
}

// The VM is the caller's to start; a user who wants to know hears why.
std::optional<VmProcess> without_daemon(const RunOptions& options, const std::string& why) {
  if (options.verbose) say("without the daemon: " + why);
  return std::nullopt;
}

}  // namespace

Result<std::optional<VmProcess>> claim_from_daemon(const std::string& store,
                                                   const std::string& name,
                                                   const RunOptions& options, bool replaceable) {
  const Wanted want = wanted(options);
  if (want == Wanted::kNo) return without_daemon(options, "it is switched off");
  auto folder = runtime_folder();
  if (!folder) return without_daemon(options, folder.error().message);
  auto client = DaemonClient::connect(*folder);
  if (!client) return without_daemon(options, client.error().message);
  if (!*client) {
    if (want == Wanted::kExisting) return without_daemon(options, "none runs");
    auto started = start_daemon(*folder, {"--warm", store, name});
    return without_daemon(options, started ? "it is being started" : started.error().message);
  }
  auto claim =
      DaemonClient::claim(std::move(**client), {store, name}, options.verbose, "", kClaimTimeout);
  if (claim.because_of_template && replaceable) return without_daemon(options, claim.refused);
  if (!claim.refused.empty()) return fail(claim.refused);
  if (!claim.vm) return without_daemon(options, claim.unreachable);
  if (options.require_confinement && !claim.exposed.empty()) {
    return fail("the host refuses to confine the VMM: " + claim.exposed);
  }
  return std::move(claim.vm);
}

}  // namespace thimble::cli
