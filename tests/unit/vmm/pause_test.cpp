// The gate where a machine's threads wait while it is paused.
#include "vmm/pause.h"

#include <gtest/gtest.h>

#include <thread>

namespace thimble {
namespace {

TEST(PauseGate, OnlyARunningMachineCanBePaused) {
  PauseGate gate;
  EXPECT_FALSE(gate.begin());
  EXPECT_TRUE(gate.start());
  EXPECT_FALSE(gate.start());
  EXPECT_TRUE(gate.begin());
  EXPECT_FALSE(gate.begin());
}

TEST(PauseGate, ThreadsWaitUntilItOpens) {
  PauseGate gate;
  gate.start();
  gate.begin();
  bool went_on = false;
  std::thread thread([&] { went_on = gate.park(); });
  EXPECT_TRUE(gate.wait_for(1));
  EXPECT_TRUE(gate.settled());
  bool called = false;
  EXPECT_TRUE(gate.open([&] { called = !went_on; }));
  thread.join();
  EXPECT_TRUE(called);
  EXPECT_TRUE(went_on);
  EXPECT_EQ(gate.state(), PauseGate::State::kRunning);
}

TEST(PauseGate, TheEndLetsEverybodyGo) {
  PauseGate gate;
  gate.start();
  gate.begin();
  bool went_on = true;
  std::thread thread([&] { went_on = gate.park(); });
  EXPECT_TRUE(gate.wait_for(1));
  EXPECT_TRUE(gate.end());
  thread.join();
  EXPECT_FALSE(went_on);
  EXPECT_FALSE(gate.wait_for(2)) << "nobody will come any more";
  EXPECT_FALSE(gate.settled());
  EXPECT_FALSE(gate.open([] { FAIL() << "an ended machine does not go on"; }));
  EXPECT_FALSE(gate.end());
}

TEST(PauseGate, ARunningMachineHoldsNobody) {
  PauseGate gate;
  gate.start();
  EXPECT_TRUE(gate.park());
}

}  // namespace
}  // namespace thimble
