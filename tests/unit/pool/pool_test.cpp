// The pool with a clock of its own and processes that only speak the VM channel's language.
#include "pool/pool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "tests/unit/pool/fake_loop.h"

namespace thimble::test {
namespace {

using namespace std::chrono_literals;
using Refusal = Pool::Refusal;

// What warm VMs do; a test changes it between warm VMs.
enum class Behaviour {
  kGood,
  kNeverPrepared,
  kRefuses,
  kDies,
  kDeaf,
  kFailsOnceClaimed,
  kCrashesOnceClaimed,
};

int live_as(int channel, Behaviour behaviour) {
  if (behaviour == Behaviour::kDies) ::raise(SIGKILL);
  if (behaviour == Behaviour::kRefuses) {
    send_vm_message(channel, VmMessageType::kRefused, 0, "a corrupt template");
    return 1;
  }
  if (behaviour != Behaviour::kNeverPrepared)
    send_vm_message(channel, VmMessageType::kPrepared, 0, "");
  for (;;) {
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, true);
    const auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return 0;
    if (message->type == VmMessageType::kClaim && behaviour == Behaviour::kFailsOnceClaimed)
      return 1;
    if (message->type == VmMessageType::kClaim && behaviour == Behaviour::kCrashesOnceClaimed) {
      ::signal(SIGSYS, SIG_DFL);
      ::raise(SIGSYS);
    }
    if (message->type == VmMessageType::kPing && behaviour != Behaviour::kDeaf) {
      send_vm_message(channel, VmMessageType::kPong, message->value, "");
    }
  }
}

class PoolTest : public ::testing::Test {
 protected:
  using Answered = std::expected<Pool::Claimed, Refusal>;

  Pool& make(PoolLimits limits = {}) {
    PoolWorld world;
    world.loop = &loop_;
    world.now = [this] { return loop_.now(); };
    world.version_of = [this](const TemplateId& id) -> FileResult<std::string> {
      const auto found = versions_.find(id.name);
      if (found != versions_.end() && found->second.empty()) return file_fault("look", ENOMEM);
      if (found == versions_.end()) {
        return std::unexpected(
            FileFault{{"there is no template " + id.name}, FileFault::Kind::kMissing});
      }
      return found->second;
    };
    world.start_warm_vm = [this](const TemplateId& id, bool awaited) -> Result<PoolWorld::WarmVm> {
      ++started_;
      if (awaited) ++awaited_;
      const auto found = versions_.find(id.name);
      if (found == versions_.end()) return fail("there is no template " + id.name);
      auto vm = VmProcess::start(
          [behaviour = behaviour_](int channel) { return live_as(channel, behaviour); }, {}, true);
      if (!vm) return std::unexpected(vm.error());
      pids_.insert(vm->pid());
      return PoolWorld::WarmVm{std::move(*vm), found->second, 100ULL << 20};
    };
    world.on_ended = [this](uint64_t vm, const std::string& how) { ended_[vm] = how; };
    pool_ = std::make_unique<Pool>(std::move(world), limits);
    return *pool_;
  }

  // The answer, once it is there.
  Answered claim(const std::string& name = "a") {
    std::optional<Answered> answer;
    pool_->claim({"store", name}, false, [&](Answered got) { answer = std::move(got); });
    if (!loop_.serve_until([&] { return answer.has_value(); })) {
      return std::unexpected(Refusal{Refusal::Kind::kLimit, "no answer"});
    }
    return std::move(*answer);
  }
  size_t ready(const std::string& name = "a") {
    for (const auto& status : pool_->templates()) {
      if (status.id.name == name) return status.ready;
    }
    return 0;
  }
  bool serve_until_ready(size_t warm_vms, const std::string& name = "a") {
    return loop_.serve_until([&] { return ready(name) == warm_vms; });
  }
  size_t alive() const {
    return static_cast<size_t>(
        std::ranges::count_if(pids_, [](pid_t pid) { return ::kill(pid, 0) == 0; }));
  }

  FakeLoop loop_;
  // An empty one cannot be told just now.
  std::map<std::string, std::string> versions_{{"a", "1"}, {"b", "1"}};
  Behaviour behaviour_ = Behaviour::kGood;
  int started_ = 0;
  int awaited_ = 0;  // of them, by a claim
  std::set<pid_t> pids_;
  std::map<uint64_t, std::string> ended_;
  std::unique_ptr<Pool> pool_;
};

TEST_F(PoolTest, AFirstClaimIsServedByAWarmVmMadeForIt) {
  make();
  const auto claimed = claim();
  ASSERT_TRUE(claimed) << claimed.error().why;
  EXPECT_GT(claimed->handed.pid, 0);
  EXPECT_TRUE(claimed->handed.channel);
  EXPECT_TRUE(claimed->handed.pidfd);
  EXPECT_EQ(pool_->templates()[0].misses, 1U);
}

TEST_F(PoolTest, AnotherWarmVmIsMadeAfterTheDelayAndServesTheNextClaimAtOnce) {
  make();
  const auto first = claim();
  ASSERT_TRUE(first);
  loop_.serve(50);
  EXPECT_EQ(started_, 1) << "the claimer has the processor first";
  EXPECT_EQ(awaited_, 1);
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  bool served = false;
  pool_->claim({"store", "a"}, false, [&](Answered got) { served = got.has_value(); });
  EXPECT_TRUE(served);
  EXPECT_EQ(started_ - awaited_, 1) << "nobody waited for that one";
}

TEST_F(PoolTest, WhatIsGivenBackIsKilledAndNeverServedAgain) {
  make();
  std::set<pid_t> seen;
  for (int i = 0; i < 5; ++i) {
    const auto claimed = claim();
    ASSERT_TRUE(claimed) << claimed.error().why;
    EXPECT_TRUE(seen.insert(claimed->handed.pid).second);
    pool_->give_back(claimed->vm);
    EXPECT_TRUE(loop_.serve_until([&] { return ::kill(claimed->handed.pid, 0) != 0; }));
  }
  EXPECT_TRUE(ended_.empty()) << "who gives back needs no news";
}

TEST_F(PoolTest, AClaimStormAboveTheMaximumIsRefusedAndTheRestServed) {
  PoolLimits limits;
  limits.max_vms = 6;
  make(limits);
  std::vector<Answered> answers;
  for (int i = 0; i < 20; ++i) {
    pool_->claim({"store", "a"}, false, [&](Answered got) { answers.push_back(std::move(got)); });
  }
  ASSERT_TRUE(loop_.serve_until([&] { return answers.size() == 20; }));
  size_t served = 0;
  for (const Answered& answer : answers) {
    if (answer) {
      ++served;
    } else {
      EXPECT_EQ(answer.error().kind, Refusal::Kind::kLimit);
      EXPECT_NE(answer.error().why.find("the most that the pool allows"), std::string::npos);
    }
  }
  EXPECT_EQ(served, 6U);
  loop_.advance(10s);
  EXPECT_EQ(pids_.size(), 6U) << "no warm VM beyond the maximum";
  for (const Answered& answer : answers) {
    if (answer) pool_->give_back(answer->vm);
  }
  EXPECT_TRUE(claim()) << "there is room again";
}

TEST_F(PoolTest, AWarmVmThatNobodyWaitsForMakesRoomForAnotherTemplate) {
  PoolLimits limits;
  limits.max_vms = 2;
  make(limits);
  const auto first = claim("a");
  ASSERT_TRUE(first);
  loop_.advance(1s);
  ASSERT_TRUE(serve_until_ready(1, "a"));
  EXPECT_TRUE(claim("b"));
  EXPECT_EQ(ready("a"), 0U);
}

TEST_F(PoolTest, ATemplateHasAMaximumOfItsOwn) {
  PoolLimits limits;
  limits.max_vms_of_template = 1;
  make(limits);
  const auto first = claim("a");
  ASSERT_TRUE(first);
  const auto second = claim("a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, Refusal::Kind::kLimit);
  EXPECT_TRUE(claim("b"));
  loop_.advance(2s);
  EXPECT_EQ(ready("a"), 0U) << "a warm VM that could never be claimed";
}

TEST_F(PoolTest, MemoryOfAllThatRunIsLimited) {
  PoolLimits limits;
  limits.max_memory_bytes = 250ULL << 20;
  make(limits);
  const auto first = claim();
  ASSERT_TRUE(first);
  const auto second = claim();
  ASSERT_TRUE(second);
  const auto third = claim();
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().kind, Refusal::Kind::kLimit);
  EXPECT_NE(third.error().why.find("200 MiB"), std::string::npos) << third.error().why;
  pool_->give_back(second->vm);
  EXPECT_TRUE(claim());
}

TEST_F(PoolTest, ATemplateThatIsNotThereIsRefusedAndLeavesNothing) {
  make();
  const auto claimed = claim("nobody");
  ASSERT_FALSE(claimed);
  EXPECT_EQ(claimed.error().kind, Refusal::Kind::kTemplate);
  EXPECT_NE(claimed.error().why.find("no template nobody"), std::string::npos);
  EXPECT_TRUE(pool_->idle());
}

TEST_F(PoolTest, AFailureIsTriedAgainOnceAndThenToldWithItsReason) {
  make();
  behaviour_ = Behaviour::kRefuses;
  const auto claimed = claim();
  ASSERT_FALSE(claimed);
  EXPECT_EQ(claimed.error().kind, Refusal::Kind::kTemplate);
  EXPECT_NE(claimed.error().why.find("a corrupt template"), std::string::npos);
  EXPECT_EQ(started_, 2);
}

TEST_F(PoolTest, ATemplateThatKeepsFailingIsLeftAloneForLongerAndLonger) {
  make();
  behaviour_ = Behaviour::kRefuses;
  ASSERT_FALSE(claim());
  const int after_first = started_;
  const auto during = claim();
  ASSERT_FALSE(during);
  EXPECT_EQ(started_, after_first) << "not even tried";
  EXPECT_NE(during.error().why.find("a corrupt template"), std::string::npos) << during.error().why;
  EXPECT_NE(during.error().why.find("tried again in 1 s"), std::string::npos) << during.error().why;
  loop_.advance(1100ms);
  ASSERT_FALSE(claim());
  const auto longer = claim();
  EXPECT_NE(longer.error().why.find("tried again in 2 s"), std::string::npos) << longer.error().why;
  behaviour_ = Behaviour::kGood;
  loop_.advance(2100ms);
  EXPECT_TRUE(claim()) << "and is forgiven";
  EXPECT_EQ(pool_->templates()[0].failing, "");
}

TEST_F(PoolTest, AWarmVmThatIsKilledIsReplaced) {
  make();
  const auto first = claim();
  ASSERT_TRUE(first);
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  for (const auto& vm : pool_->vms()) {
    if (std::string(vm.state) == "ready") ::kill(vm.pid, SIGKILL);
  }
  ASSERT_TRUE(serve_until_ready(0));
  loop_.advance(250ms);
  EXPECT_TRUE(serve_until_ready(1));
}

TEST_F(PoolTest, AWarmVmThatIsKilledWhileItIsMadeDelaysItsClaimAndNoMore) {
  make();
  behaviour_ = Behaviour::kNeverPrepared;
  std::optional<Answered> answer;
  pool_->claim({"store", "a"}, false, [&](Answered got) { answer = std::move(got); });
  behaviour_ = Behaviour::kGood;
  ::kill(pool_->vms()[0].pid, SIGKILL);
  ASSERT_TRUE(loop_.serve_until([&] { return answer.has_value(); }));
  EXPECT_TRUE(answer->has_value());
}

TEST_F(PoolTest, AWarmVmThatIsNeverReadyIsGivenUp) {
  make();
  behaviour_ = Behaviour::kNeverPrepared;
  std::optional<Answered> answer;
  pool_->claim({"store", "a"}, false, [&](Answered got) { answer = std::move(got); });
  for (int i = 0; i < 3 && !answer; ++i) {
    loop_.advance(32s);
    loop_.serve(100);
  }
  ASSERT_TRUE(answer);
  ASSERT_FALSE(*answer);
  EXPECT_NE(answer->error().why.find("not ready within 30 s"), std::string::npos);
}

TEST_F(PoolTest, AWarmVmThatAnswersIsKeptAndADeafOneReplaced) {
  PoolLimits limits;
  limits.idle = 1h;
  make(limits);
  ASSERT_TRUE(claim());
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  for (int i = 0; i < 5; ++i) {
    loop_.advance(12s);
    loop_.serve(300);
    loop_.serve(20);
  }
  EXPECT_EQ(started_, 2) << "the one that was made after the claim";
  behaviour_ = Behaviour::kDeaf;
  ASSERT_TRUE(claim());
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  behaviour_ = Behaviour::kGood;
  const int before = started_;
  for (int i = 0; i < 5; ++i) {
    loop_.advance(12s);
    loop_.serve(300);
    loop_.serve(20);
  }
  EXPECT_EQ(started_, before + 1);
}

TEST_F(PoolTest, WarmVmsAreNotHungBecauseThePoolItselfWasStopped) {
  PoolLimits limits;
  limits.idle = 1h;
  limits.refill_delay = 0ms;
  make(limits);
  ASSERT_TRUE(claim());
  loop_.advance(10ms);
  ASSERT_TRUE(serve_until_ready(1));
  loop_.advance(11s);  // it has been asked, and its answer is not read yet
  behaviour_ = Behaviour::kNeverPrepared;
  ASSERT_TRUE(pool_->warm({"store", "a"}, 2));
  loop_.advance(10ms);
  const int before = started_;
  loop_.leap(10min);
  EXPECT_EQ(ready(), 1U);
  EXPECT_EQ(pool_->templates()[0].preparing, 1U);
  EXPECT_EQ(started_, before);
  loop_.serve(100);
  loop_.advance(20s);
  EXPECT_EQ(ready(), 1U) << "asked anew";
  EXPECT_EQ(pool_->templates()[0].failing, "");
}

// A shortage says nothing about the template: what is ready is handed out.
TEST_F(PoolTest, AVersionThatCannotBeToldJustNowDiscardsNoWarmVm) {
  PoolLimits limits;
  limits.refill_delay = 0ms;
  make(limits);
  ASSERT_TRUE(claim());
  loop_.advance(10ms);
  ASSERT_TRUE(serve_until_ready(1));
  versions_["a"] = "";
  EXPECT_TRUE(claim());
  versions_.erase("a");
  EXPECT_FALSE(claim()) << "that is told: there is none";
}

TEST_F(PoolTest, AFailureThatTheClientHearsOfFirstIsOneAllTheSame) {
  make();
  behaviour_ = Behaviour::kFailsOnceClaimed;
  for (int i = 0; i < 2; ++i) {
    const auto claimed = claim();
    ASSERT_TRUE(claimed) << claimed.error().why;
    pollfd ended{claimed->handed.pidfd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, 10000), 1);
    pool_->give_back(claimed->vm);
  }
  const auto third = claim();
  ASSERT_FALSE(third);
  EXPECT_NE(third.error().why.find("fail right after their start"), std::string::npos)
      << third.error().why;
}

TEST_F(PoolTest, AClaimedVmThatIsKilledIsReportedWithItsSignal) {
  make();
  const auto claimed = claim();
  ASSERT_TRUE(claimed);
  ::kill(claimed->handed.pid, SIGKILL);
  ASSERT_TRUE(loop_.serve_until([&] { return !ended_.empty(); }));
  EXPECT_EQ(ended_[claimed->vm], "signal 9 (Killed)");
  pool_->give_back(claimed->vm);
  loop_.advance(250ms);
  EXPECT_TRUE(claim());
}

TEST_F(PoolTest, ClonesThatFailRightAwaySpeakAgainstTheirTemplate) {
  make();
  for (size_t i = 0; i < 2; ++i) {
    behaviour_ = i == 0 ? Behaviour::kFailsOnceClaimed : Behaviour::kCrashesOnceClaimed;
    ASSERT_TRUE(claim());
    ASSERT_TRUE(loop_.serve_until([&] { return ended_.size() == i + 1; }));
  }
  const auto third = claim();
  ASSERT_FALSE(third);
  EXPECT_NE(third.error().why.find("fail right after their start"), std::string::npos)
      << third.error().why;
}

TEST_F(PoolTest, AChangedTemplateGetsNewWarmVms) {
  make();
  ASSERT_TRUE(claim());
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  const int before = started_;
  versions_["a"] = "2";
  ASSERT_TRUE(claim());
  EXPECT_GT(started_, before) << "the waiting warm VM is of the old one";
}

TEST_F(PoolTest, ARemovedTemplateIsRefusedWhileItsClonesGoOn) {
  make();
  const auto running = claim();
  ASSERT_TRUE(running);
  loop_.advance(250ms);
  ASSERT_TRUE(serve_until_ready(1));
  versions_.erase("a");
  const auto claimed = claim();
  ASSERT_FALSE(claimed);
  EXPECT_NE(claimed.error().why.find("no template a"), std::string::npos);
  EXPECT_TRUE(loop_.serve_until([&] { return alive() == 1; })) << "the warm VM goes";
  EXPECT_EQ(::kill(running->handed.pid, 0), 0);
  loop_.advance(5s);
  EXPECT_EQ(alive(), 1U);
}

TEST_F(PoolTest, ATemplateThatNobodyClaimsAnyMoreKeepsNothing) {
  PoolLimits limits;
  limits.idle = 10s;
  make(limits);
  const auto claimed = claim();
  ASSERT_TRUE(claimed);
  loop_.advance(1s);
  ASSERT_TRUE(serve_until_ready(1));
  for (int i = 0; i < 15; ++i) {
    loop_.advance(2s);
    loop_.serve(20);
  }
  EXPECT_EQ(ready(), 1U) << "one of its VMs runs";
  pool_->give_back(claimed->vm);
  EXPECT_TRUE(loop_.serve_until([&] {
    loop_.advance(2s);
    return pool_->idle();
  }));
  EXPECT_EQ(alive(), 0U);
  EXPECT_EQ(loop_.watched(), 0U);
}

TEST_F(PoolTest, AClaimerThatVanishesGetsNothingAndLosesNothing) {
  make();
  bool answered = false;
  const uint64_t waiting = pool_->claim({"store", "a"}, false, [&](auto) { answered = true; });
  pool_->cancel(waiting);
  EXPECT_TRUE(serve_until_ready(1)) << "the warm VM is kept for the next";
  EXPECT_FALSE(answered);
  EXPECT_TRUE(claim());
  EXPECT_EQ(started_, 1);
}

TEST_F(PoolTest, WarmVmsAreMadeAheadWhenAskedFor) {
  make();
  ASSERT_TRUE(pool_->warm({"store", "a"}, 3));
  loop_.advance(2s);
  EXPECT_TRUE(serve_until_ready(3));
  EXPECT_FALSE(pool_->warm({"store", "nobody"}, 3));
}

TEST_F(PoolTest, TheEndOfThePoolIsTheEndOfAllItsVms) {
  make();
  const auto one = claim("a");
  const auto other = claim("b");
  loop_.advance(1s);
  ASSERT_TRUE(serve_until_ready(1, "a"));
  EXPECT_GE(alive(), 3U);
  pool_.reset();
  EXPECT_EQ(alive(), 0U);
  EXPECT_EQ(loop_.watched(), 0U);
}

TEST_F(PoolTest, ThousandClaimsLeaveNothingBehind) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = descriptors();
  make();
  for (int i = 0; i < 1000; ++i) {
    const auto claimed = claim();
    ASSERT_TRUE(claimed) << claimed.error().why;
    pool_->give_back(claimed->vm);
    if (i % 50 == 0) loop_.advance(200ms);
  }
  pool_.reset();
  EXPECT_EQ(alive(), 0U);
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(loop_.watched(), 0U);
}

}  // namespace
}  // namespace thimble::test
