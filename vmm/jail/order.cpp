// See order.h.
#include "vmm/jail/order.h"

#include <utility>

#include "devices/state_text.h"

namespace thimble {

namespace {

constexpr size_t kMaxReason = 400;
constexpr size_t kMaxMissing = static_cast<size_t>(Layer::kFilters) + 1;

struct MissingLayer {
  Layer layer{};
  std::string reason;

  void describe(StateVisitor& visitor) {
    visitor.field("layer", layer);
    text_field(visitor, "reason", reason, kMaxReason);
  }
};

std::string shortened(const std::string& reason) { return reason.substr(0, kMaxReason); }

}  // namespace

void JailOrder::describe(StateVisitor& visitor) {
  visitor.field("namespaces", namespaces);
  visitor.field("has_identity", has_identity);
  visitor.field("uid", identity.uid);
  visitor.field("gid", identity.gid);
  visitor.field("set_groups", identity.set_groups);
  why_no_identity = shortened(why_no_identity);
  text_field(visitor, "why_no_identity", why_no_identity, kMaxReason);
  visitor.field("memory_bytes", limits.memory_bytes);
  visitor.field("file_bytes", limits.file_bytes);
  std::vector<MissingLayer> missing;
  missing.reserve(confinement.missing.size());
  for (const auto& [layer, reason] : confinement.missing) {
    missing.push_back({layer, shortened(reason)});
  }
  visitor.list("missing", missing, kMaxMissing);
  confinement.missing.clear();
  for (MissingLayer& one : missing) confinement.refuse(one.layer, std::move(one.reason));
}

Result<JailOrder> parse_order(std::span<const uint8_t> datagram) {
  auto order = load_state<JailOrder>(datagram);
  if (!order) return order;
  for (const Confinement::Missing& missing : order->confinement.missing) {
    if (missing.layer > Layer::kFilters) return fail("the order names an unknown layer");
  }
  return order;
}

}  // namespace thimble
