// A VmSpec on its way into the VM process: one datagram over the VM channel's socket, the first,
// with all descriptors. The encoding is that of described state (devices/state.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/vm/vm_spec.h"

namespace thimble {

// Changes with the message: both ends are of one build, and a mistake is to be found at once.
constexpr uint32_t kSpecVersion = 1;
constexpr size_t kMaxSpecBytes = size_t{64} << 10;
constexpr size_t kMaxSpecDescriptors = 253;  // that the kernel passes with one datagram (unix(7))

// Fills the socket at most, and does not wait for a reader. What the descriptors name has been
// passed on when it returns.
[[nodiscard]] Result<void> send_spec(int socket, const VmSpec& spec);

// Waits for it. An error for whatever send_spec() does not send.
[[nodiscard]] Result<VmSpec> receive_spec(int socket);

// For tests.
[[nodiscard]] std::vector<uint8_t> spec_bytes(const VmSpec& spec);
[[nodiscard]] Result<VmSpec> parse_spec(std::span<const uint8_t> datagram,
                                        std::vector<Fd> descriptors);

}  // namespace thimble
