// When a VM process reclaims its guest's memory.
#include "pool/vm/reclaim_plan.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

using namespace std::chrono_literals;

TEST(ReclaimPlan, AGuestThatHasComputedMeanwhileIsNotIdle) {
  ReclaimPlan plan(500ms);
  EXPECT_FALSE(plan.looks_idle(100ms)) << "it came up";
  EXPECT_TRUE(plan.looks_idle(105ms)) << "less than a fiftieth";
  EXPECT_FALSE(plan.looks_idle(120ms));
  EXPECT_TRUE(plan.looks_idle(120ms));
}

const ReclaimReport kRefused{};
ReclaimReport reclaimed(bool by_timer = false) {
  ReclaimReport report;
  report.reclaimed = true;
  report.by_timer = by_timer;
  return report;
}
ReclaimReport timer_in(std::chrono::nanoseconds time) {
  ReclaimReport report;
  report.until_timer = time;
  return report;
}

TEST(ReclaimPlan, ShortOnesComeMoreSeldom) {
  ReclaimPlan plan(500ms);
  EXPECT_EQ(plan.until_look(), 500ms);
  plan.was_tried(kRefused, 0ns);
  EXPECT_EQ(plan.until_look(), 500ms) << "one is chance";
  plan.was_tried(kRefused, 10s);
  EXPECT_EQ(plan.until_look(), 1000ms);
  plan.was_tried(reclaimed(), 1900ms);
  EXPECT_EQ(plan.until_look(), 2000ms);
  for (int i = 0; i < 100; ++i) plan.was_tried(reclaimed(), 0ns);
  EXPECT_EQ(plan.until_look(), 60s) << "but not never";
  plan.was_tried(reclaimed(), 2s);
  EXPECT_EQ(plan.until_look(), 500ms) << "a long one was worth it";
}

TEST(ReclaimPlan, ATimerIsWaitedFor) {
  ReclaimPlan plan(500ms);
  plan.was_tried(timer_in(250ms), 0ns);
  EXPECT_EQ(plan.until_look(), 350ms) << "and a moment for what it is for";
  EXPECT_TRUE(plan.looks_idle(0ns));
  EXPECT_EQ(plan.until_look(), 500ms) << "once";
  plan.was_tried(reclaimed(/*by_timer=*/true), 3s);
  EXPECT_EQ(plan.until_look(), 100ms) << "and then again";
  plan.was_tried(timer_in(490ms), 0ns);
  EXPECT_EQ(plan.until_look(), 500ms) << "not later than otherwise";
}

TEST(ReclaimPlan, OneThatTicksIsLeftAlone) {
  ReclaimPlan plan(500ms);
  for (int i = 0; i < 6; ++i) plan.was_tried(timer_in(40ms), 0ns);
  EXPECT_GT(plan.until_look(), 10s);
}

TEST(ReclaimPlan, NeverLooksAllTheTime) {
  EXPECT_EQ(ReclaimPlan(0ms).until_look(), ReclaimPlan::kSoonest);
}

}  // namespace
}  // namespace thimble
