// What a process that is to enter a jail is told by its parent, once that has done its part: one
// datagram over their lifeline (jail.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "devices/result.h"
#include "devices/state.h"
#include "vmm/jail/confinement.h"
#include "vmm/jail/identity.h"
#include "vmm/jail/limits.h"

namespace thimble {

struct JailOrder {
  uint64_t namespaces = 0;  // CLONE_NEW… flags that it lives in
  bool has_identity = false;
  Identity identity = {};
  std::string why_no_identity = {};
  Limits limits = {};
  Confinement confinement = {};  // what the host has refused so far

  void describe(StateVisitor& visitor);
};

// More is no order.
constexpr size_t kMaxOrderBytes = 8192;

// An error for what the parent cannot have sent.
Result<JailOrder> parse_order(std::span<const uint8_t> datagram);

}  // namespace thimble
