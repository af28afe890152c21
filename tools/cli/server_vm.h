// From what a user asked for to what a VM needs: the image, the machine, who the guest is, and the
// server in it. For `thimble run` and `thimble template`.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/guest/guest_identity.h"
#include "pool/image/plan.h"
#include "pool/vm/vm_process.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// Checks the host and the memory, and builds what is missing of the image.
Result<image::Prepared> prepare_server(const RunOptions& options);

// The machine that boots it, with the disks of `prepared` in their order.
Result<VmSpec> make_vm(const RunOptions& options, const image::Prepared& prepared);

// A read-only disk of a guest.
Result<Disk> open_disk(const std::filesystem::path& path, std::string name);

// For guests that boot: a clone has them already.
Result<std::vector<protocol::Mount>> make_mounts(const image::Prepared& prepared);

// "K=V" for all of `base` and what --env asks for besides; says what is not set here.
Result<std::vector<std::string>> make_environment(const std::vector<std::string>& wanted,
                                                  std::map<std::string, std::string> base);

// The image's, without root's home for another user: the guest knows the user's own.
std::map<std::string, std::string> base_environment(const RunOptions& options,
                                                    const image::Prepared& prepared);

Result<ServerSpec> make_server(const RunOptions& options, const image::Prepared& prepared);

// The grace for a silent server after the end of its stdin, in milliseconds: as asked for, or by
// the kind of this process' stdin.
uint32_t stdin_grace_ms(const RunOptions& options);

}  // namespace thimble::cli
