// The layers that confine a VMM process, and which of them the host refused. The picture of all of
// them is in docs/security.md; jail.h puts them on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace thimble {

enum class Layer : uint8_t {
  kUserNamespace,
  kMountNamespace,
  kPidNamespace,
  kNetworkNamespace,
  kIpcNamespace,
  kUtsNamespace,
  kCgroupNamespace,
  kIdentity,      // a host uid that is not 0
  kPrivateRoot,   // an empty root directory
  kCapabilities,  // none
  kPrivileges,    // no new ones, not dumpable
  kDescriptors,   // none but its own
  kLimits,        // resource limits
  kCgroup,        // a cgroup of its own; only where one is delegated to us
  kFilters,       // system calls
};

// "network namespace"
const char* name_of(Layer layer);

struct Confinement {
  struct Missing {
    Layer layer;
    std::string reason;
  };
  std::vector<Missing> missing;

  void refuse(Layer layer, std::string reason);
  [[nodiscard]] bool holds(Layer layer) const;
  [[nodiscard]] bool complete() const { return missing.empty(); }
  // One line that names each missing layer and why: "network namespace (…), private root (…)".
  [[nodiscard]] std::string describe() const;
};

}  // namespace thimble
