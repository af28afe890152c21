// See host_check.h.
#include "tools/cli/host_check.h"

#include "pool/launch/guest_files.h"
#include "pool/launch/server_vm.h"
#include "tools/cli/say.h"
#include "tools/doctor/linux_verdict.h"

namespace thimble::cli {

Result<void> check_host() { return doctor::linux_verdict(launch::cache_directory()); }

Result<image::Prepared> prepare_server(const launch::ServerConfig& config) {
  return launch::prepare_server(config, check_host, say);
}

}  // namespace thimble::cli
