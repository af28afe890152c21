// The order in which starts are tried, in a world without machines.
#include "pool/launch/start_plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace thimble::launch {
namespace {

// A turn for which others went before, or not.
StartSlot turn(bool waited) { return StartSlot(Fd(), waited); }

class FakeWorld final : public StartWorld {
 public:
  Result<std::optional<Clone>> find_clone() override {
    done.emplace_back("look");
    if (broken) return fail("the template is broken");
    if (templates.empty()) return std::nullopt;
    Clone clone;
    clone.start.template_name = templates;
    clone.is_best = is_best;
    return clone;
  }
  bool has_template() override { return !templates.empty(); }
  Result<StartSlot> take_turn(bool wants_clone) override {
    done.emplace_back(wants_clone ? "turn or template" : "turn");
    if (!made_meanwhile.empty()) templates = made_meanwhile;
    return turn(waited);
  }
  Result<Start> make_boot() override {
    done.emplace_back("boot");
    if (broken) return fail("no kernel");
    return Start{};
  }
  void make_template(const std::string& refused, StartSlot) override {
    done.push_back("make" + (refused.empty() ? "" : " anew " + refused));
  }
  bool client_has_left() override { return left; }
  void say(const std::string& line) override { said = line; }

  std::string templates;  // the one that there is
  std::string made_meanwhile;
  bool is_best = true;
  bool waited = false;
  bool left = false;
  bool broken = false;
  std::vector<std::string> done;
  std::string said;
};

using Done = std::vector<std::string>;

// Its template, "boot", "left" or the error.
std::string next(StartPlan& plan, bool runs = false) {
  auto start = plan.next();
  if (!start) return start.error().message;
  if (!*start) return "left";
  if (runs) (*start)->on_started();
  EXPECT_EQ((*start)->is_replaceable, !(*start)->template_name.empty());
  return (*start)->template_name.empty() ? "boot" : (*start)->template_name;
}

TEST(StartPlan, ATemplateThatIsThereIsClonedWithoutATurn) {
  FakeWorld world;
  world.templates = "ready";
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan, true), "ready");
  EXPECT_EQ(world.done, Done{"look"});
}

TEST(StartPlan, AClonesServerThatRunsHasABetterTemplateMade) {
  FakeWorld world;
  world.templates = "before-exec";
  world.is_best = false;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan, true), "before-exec");
  EXPECT_EQ(world.done, (Done{"look", "make"}));
}

TEST(StartPlan, WithoutATemplateItBootsInItsTurnAndOneIsMade) {
  FakeWorld world;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan, true), "boot");
  EXPECT_EQ(world.done, (Done{"look", "turn or template", "boot", "make"}));
}

TEST(StartPlan, ABootThatNeverRunsLeavesNothing) {
  FakeWorld world;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan), "boot");
  EXPECT_EQ(world.done, (Done{"look", "turn or template", "boot"}));
}

TEST(StartPlan, WhereThereAreNoTemplatesNoneAreLookedForNorMade) {
  FakeWorld world;
  world.templates = "not for this one";
  world.waited = true;
  StartPlan plan(world, false);
  EXPECT_EQ(next(plan, true), "boot");
  EXPECT_EQ(world.done, (Done{"turn", "boot"}));
}

TEST(StartPlan, WhoHadToWaitTakesWhatWasMadeMeanwhile) {
  FakeWorld world;
  world.made_meanwhile = "ready";
  world.waited = true;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan, true), "ready");
  EXPECT_EQ(world.done, (Done{"look", "turn or template", "look"}));
}

TEST(StartPlan, WhoDidNotWaitDoesNotLookAgain) {
  FakeWorld world;
  world.made_meanwhile = "ready";
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan, true), "boot");
  EXPECT_EQ(world.done, (Done{"look", "turn or template", "boot", "make"}));
}

TEST(StartPlan, ARefusedCloneIsReplacedByABootAndItsTemplateMadeAnew) {
  FakeWorld world;
  world.templates = "ready";
  world.waited = true;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan), "ready");
  plan.refused("another processor");
  EXPECT_EQ(world.said, "template ready: another processor: booting instead");
  EXPECT_EQ(next(plan, true), "boot");
  EXPECT_EQ(world.done, (Done{"look", "turn", "boot", "make anew ready"}));
}

TEST(StartPlan, ACloneThatWasMadeMeanwhileMayBeRefusedToo) {
  FakeWorld world;
  world.made_meanwhile = "late";
  world.waited = true;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan), "late");
  plan.refused("it does not answer");
  EXPECT_EQ(next(plan, true), "boot");
  EXPECT_EQ(world.done, (Done{"look", "turn or template", "look", "boot", "make anew late"}))
      << "in the turn that it has";
}

TEST(StartPlan, AClientThatLeftWhileItWaitedIsNotServed) {
  FakeWorld world;
  world.waited = true;
  world.left = true;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan), "left");
  EXPECT_EQ(world.done, (Done{"look", "turn or template"}));
}

TEST(StartPlan, AnErrorIsOneAndNothingElseIsTried) {
  FakeWorld world;
  world.templates = "ready";
  world.broken = true;
  StartPlan plan(world, true);
  EXPECT_EQ(next(plan), "the template is broken");
  StartPlan boots(world, false);
  EXPECT_EQ(next(boots), "no kernel");
}

}  // namespace
}  // namespace thimble::launch
