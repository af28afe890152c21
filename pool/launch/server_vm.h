// From what a user asked for to what a VM needs: the image, the machine, what the guest mounts, and
// the server in it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/guest/guest_identity.h"
#include "pool/image/plan.h"
#include "pool/launch/server_config.h"
#include "pool/vm/vm_process.h"

namespace thimble::launch {

// Checks the memory and the host (by `check_host`, once the command is known to make sense), and
// builds what is missing of the image: may take minutes.
Result<image::Prepared> prepare_server(const ServerConfig& config,
                                       const std::function<Result<void>()>& check_host,
                                       const Say& say);

// More memory than the host has would be promised to the guest and then taken away by the host's
// out-of-memory killer: refused.
Result<void> check_memory(uint64_t bytes);

// The machine that boots it, with the disks of `prepared` in their order.
Result<VmSpec> make_vm(const ServerConfig& config, const image::Prepared& prepared);

// A read-only disk of a guest.
Result<Disk> open_disk(const std::filesystem::path& path, std::string name);

// For guests that boot: a clone has them already.
Result<std::vector<protocol::Mount>> make_mounts(const image::Prepared& prepared);

// "K=V" for all of `base` and what --env asks for besides; says what is not set here.
Result<std::vector<std::string>> make_environment(const std::vector<std::string>& wanted,
                                                  std::map<std::string, std::string> base,
                                                  const Say& say);

// The image's, without root's home for another user: the guest knows the user's own.
std::map<std::string, std::string> base_environment(const ServerConfig& config,
                                                    const image::Prepared& prepared);

Result<ServerSpec> make_server(const ServerConfig& config, const image::Prepared& prepared,
                               const Say& say);

// In milliseconds; 0: never.
uint32_t stdin_grace_ms(const ServerConfig& config);

}  // namespace thimble::launch
