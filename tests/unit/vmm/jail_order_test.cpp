// What a process in a jail is told by its parent (vmm/jail/order.h).
#include <gtest/gtest.h>
#include <sched.h>

#include "devices/state.h"
#include "vmm/jail/order.h"

namespace thimble {
namespace {

JailOrder some_order() {
  JailOrder order{.namespaces = CLONE_NEWUSER | CLONE_NEWNS, .has_identity = true};
  order.identity = {.uid = 1879048192, .gid = 1879048193, .set_groups = true};
  order.limits = {.memory_bytes = 1ULL << 40, .file_bytes = 7};
  order.confinement.refuse(Layer::kCgroup, "nobody delegated one");
  order.confinement.refuse(Layer::kFilters, "");
  return order;
}

TEST(JailOrder, EverythingArrives) {
  JailOrder sent = some_order();
  const std::vector<uint8_t> bytes = save_state(sent);
  EXPECT_LT(bytes.size(), kMaxOrderBytes);
  const auto got = parse_order(bytes);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->namespaces, sent.namespaces);
  EXPECT_TRUE(got->has_identity);
  EXPECT_EQ(got->identity.uid, 1879048192U);
  EXPECT_EQ(got->identity.gid, 1879048193U);
  EXPECT_TRUE(got->identity.set_groups);
  EXPECT_EQ(got->limits.memory_bytes, 1ULL << 40);
  EXPECT_EQ(got->limits.file_bytes, 7U);
  EXPECT_EQ(got->confinement.describe(), some_order().confinement.describe());
}

TEST(JailOrder, OneThatIsCutAnywhereIsRefused) {
  JailOrder order = some_order();
  const std::vector<uint8_t> whole = save_state(order);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_order(std::span(whole).first(length))) << length;
  }
}

TEST(JailOrder, AnUnknownLayerIsRefused) {
  JailOrder order;
  order.confinement.refuse(static_cast<Layer>(99), "?");
  EXPECT_FALSE(parse_order(save_state(order)));
}

// With every layer refused for the longest of reasons it still is one datagram.
TEST(JailOrder, ReasonsAreCutSoThatItFits) {
  JailOrder order;
  order.why_no_identity.assign(10000, 'x');
  for (int layer = 0; layer <= static_cast<int>(Layer::kFilters); ++layer) {
    order.confinement.refuse(static_cast<Layer>(layer), std::string(10000, 'y'));
  }
  const std::vector<uint8_t> bytes = save_state(order);
  EXPECT_LE(bytes.size(), kMaxOrderBytes);
  const auto got = parse_order(bytes);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_FALSE(got->confinement.holds(Layer::kUserNamespace));
}

}  // namespace
}  // namespace thimble
