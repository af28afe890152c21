// What is kept of a guest's serial console.
#include "pool/vm/console_tail.h"

#include <gtest/gtest.h>

#include "pool/vm/vm_run.h"

namespace thimble {
namespace {

void feed(ConsoleTail& tail, std::string_view text) {
  tail.feed({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

TEST(ConsoleTail, KeepsTheLastLinesOnly) {
  ConsoleTail tail;
  for (int i = 0; i < 1000; ++i) feed(tail, "line " + std::to_string(i) + "\r\n");
  ASSERT_EQ(tail.lines().size(), ConsoleTail::kMaxLines);
  EXPECT_EQ(tail.lines().back(), "line 999");
}

TEST(ConsoleTail, ALineWithoutEndDoesNotGrow) {
  ConsoleTail tail;
  for (int i = 0; i < 10000; ++i) feed(tail, "xxxxxxxxxx");
  feed(tail, "\n");
  EXPECT_LE(tail.lines().back().size(), ConsoleTail::kMaxLineBytes);
}

TEST(ConsoleTail, FindsTheReasonOfAPanicInPiecesOfOutput) {
  ConsoleTail tail;
  feed(tail, "[    1.0] Kernel panic - not sync");
  feed(tail, "ing: VFS: Unable to mount root fs\r\n---[ end Kernel panic - not syncing: x ]---\n");
  EXPECT_EQ(tail.panic(), "VFS: Unable to mount root fs");
  const End end{End::Kind::kReset, ""};
  EXPECT_EQ(explain_end(end, tail), "the guest's kernel panicked: VFS: Unable to mount root fs");
}

TEST(ConsoleTail, TheUnfinishedLastLineCounts) {
  ConsoleTail tail;
  feed(tail, "Kernel panic - not syncing: cut");
  tail.finish();
  EXPECT_EQ(tail.panic(), "cut");
}

}  // namespace
}  // namespace thimble
