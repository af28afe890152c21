// See confinement.h.
#include "vmm/jail/confinement.h"

#include <algorithm>
#include <utility>

namespace thimble {

const char* name_of(Layer layer) {
  switch (layer) {
    case Layer::kUserNamespace:
      return "user namespace";
    case Layer::kMountNamespace:
      return "mount namespace";
    case Layer::kPidNamespace:
      return "pid namespace";
    case Layer::kNetworkNamespace:
      return "network namespace";
    case Layer::kIpcNamespace:
      return "ipc namespace";
    case Layer::kUtsNamespace:
      return "uts namespace";
    case Layer::kCgroupNamespace:
      return "cgroup namespace";
    case Layer::kIdentity:
      return "uid of its own";
    case Layer::kPrivateRoot:
      return "private root";
    case Layer::kCapabilities:
      return "dropping of capabilities";
    case Layer::kPrivileges:
      return "no new privileges";
    case Layer::kDescriptors:
      return "closing of descriptors";
    case Layer::kLimits:
      return "resource limits";
    case Layer::kCgroup:
      return "cgroup";
    case Layer::kFilters:
      return "system call filters";
  }
  return "unknown layer";
}

void Confinement::refuse(Layer layer, std::string reason) {
  missing.push_back({layer, std::move(reason)});
}

bool Confinement::holds(Layer layer) const {
  return std::ranges::none_of(missing, [layer](const Missing& m) { return m.layer == layer; });
}

std::string Confinement::describe() const {
  std::string out;
  for (size_t i = 0; i < missing.size(); ++i) {
    if (i > 0) out += ", ";
    out += name_of(missing[i].layer);
    // Layers that miss for one reason share its mention.
    const bool last_of_its_kind =
        i + 1 == missing.size() || missing[i + 1].reason != missing[i].reason;
    if (last_of_its_kind) out += " (" + missing[i].reason + ")";
  }
  return out;
}

}  // namespace thimble
