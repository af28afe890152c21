// The event loop: whoever unwatches is not called again, timers come in order, posts come from any
// thread, stop() stops.
#include "vmm/epoll_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace thimble {
namespace {

using namespace std::chrono_literals;

class EpollLoopTest : public testing::Test {
 protected:
  EpollLoopTest() : loop_(EpollLoop::create().value()) {
    // No test may hang: a loop that nobody stops stops itself, and the test sees that.
    loop_->after(10s, [this] {
      timed_out_ = true;
      loop_->stop();
    });
  }
  void run() {
    ASSERT_TRUE(loop_->run());
    ASSERT_FALSE(timed_out_);
  }
  static Fd signalled() { return Fd(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)); }

  std::unique_ptr<EpollLoop> loop_;
  bool timed_out_ = false;
};

TEST_F(EpollLoopTest, HandlerIsCalledWhileItsDescriptorIsReady) {
  const Fd fd = signalled();
  int calls = 0;
  loop_->watch(fd.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_EQ(events, uint32_t{EPOLLIN});
    if (++calls == 3) loop_->stop();
  });
  run();
  EXPECT_EQ(calls, 3);
}

TEST_F(EpollLoopTest, HandlerThatUnwatchesItselfLivesToItsEndAndIsNotCalledAgain) {
  const Fd fd = signalled();
  int calls = 0;
  const std::string captured(100, 'x');  // on the heap: a freed handler would show
  loop_->watch(fd.get(), EPOLLIN, [&, captured](uint32_t) {
    ++calls;
    loop_->unwatch(fd.get());
    EXPECT_EQ(captured, std::string(100, 'x'));
    loop_->after(5ms, [&] { loop_->stop(); });
  });
  run();
  EXPECT_EQ(calls, 1);
}

TEST_F(EpollLoopTest, HandlerUnwatchedByAnotherInTheSameRoundIsNotCalled) {
  const Fd one = signalled();
  const Fd two = signalled();
  int calls = 0;
  const auto handler = [&](uint32_t) {
    ++calls;
    loop_->unwatch(one.get());
    loop_->unwatch(two.get());
    loop_->after(5ms, [&] { loop_->stop(); });
  };
  loop_->watch(one.get(), EPOLLIN, handler);
  loop_->watch(two.get(), EPOLLIN, handler);
  run();
  EXPECT_EQ(calls, 1);
}

TEST_F(EpollLoopTest, EventOfAClosedDescriptorIsNotGivenToItsSuccessor) {
  // Both are ready in one round; the first handler closes the second descriptor and makes a new one
  // with the same number that is not ready.
  Fd one = signalled();
  Fd two = signalled();
  bool successor_called = false;
  Fd successor;
  const auto replace = [&](Fd& other) {
    const int number = other.get();
    loop_->unwatch(number);
    other.reset();
    successor = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    ASSERT_EQ(successor.get(), number);
    loop_->watch(successor.get(), EPOLLIN, [&](uint32_t) { successor_called = true; });
    loop_->after(10ms, [&] { loop_->stop(); });
  };
  bool replaced = false;
  loop_->watch(one.get(), EPOLLIN, [&](uint32_t) {
    if (!std::exchange(replaced, true)) replace(two);
    loop_->unwatch(one.get());
  });
  loop_->watch(two.get(), EPOLLIN, [&](uint32_t) {
    if (!std::exchange(replaced, true)) replace(one);
    loop_->unwatch(two.get());
  });
  run();
  EXPECT_TRUE(replaced);
  EXPECT_FALSE(successor_called);
}

TEST_F(EpollLoopTest, WatchingAgainReplacesTheHandler) {
  const Fd fd = signalled();
  bool old_called = false;
  loop_->watch(fd.get(), EPOLLIN, [&](uint32_t) { old_called = true; });
  loop_->watch(fd.get(), EPOLLIN, [&](uint32_t) { loop_->stop(); });
  run();
  EXPECT_FALSE(old_called);
}

TEST_F(EpollLoopTest, ChangedInterestSilencesADescriptorAndWakesItAgain) {
  const Fd fd = signalled();
  int calls = 0;
  loop_->watch(fd.get(), EPOLLIN, [&](uint32_t) {
    if (++calls == 2) return loop_->stop();
    loop_->change(fd.get(), 0);
    loop_->after(5ms, [&] {
      EXPECT_EQ(calls, 1);
      loop_->change(fd.get(), EPOLLIN);
    });
  });
  run();
  EXPECT_EQ(calls, 2);
}

TEST_F(EpollLoopTest, UnwatchingOrChangingWhatIsNotWatchedDoesNothing) {
  loop_->unwatch(12345);
  loop_->change(12345, EPOLLIN);
  loop_->cancel(12345);
  loop_->post([&] { loop_->stop(); });
  run();
}

TEST_F(EpollLoopTest, TimersComeInTheOrderOfTheirTimesAndNotEarly) {
  std::vector<int> order;
  const auto start = std::chrono::steady_clock::now();
  loop_->after(20ms, [&] {
    order.push_back(3);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
    loop_->stop();
  });
  loop_->after(1ms, [&] { order.push_back(1); });
  loop_->after(5ms, [&] { order.push_back(2); });
  run();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(EpollLoopTest, CancelledTimerStaysSilentAlsoWhenCancelledByItsNeighbour) {
  bool called = false;
  const auto first = loop_->after(1ms, [&] { called = true; });
  loop_->cancel(first);
  EventLoop::TimerId third = 0;
  // Both are due in the same round.
  loop_->after(2ms, [&] {
    loop_->cancel(third);
    std::this_thread::sleep_for(5ms);
  });
  third = loop_->after(3ms, [&] { called = true; });
  loop_->after(10ms, [&] { loop_->stop(); });
  run();
  EXPECT_FALSE(called);
}

TEST_F(EpollLoopTest, TimerMaySetTheNextOneAndMayCancelItself) {
  int ticks = 0;
  std::function<void()> tick;
  EventLoop::TimerId current = 0;
  tick = [&] {
    loop_->cancel(current);
    if (++ticks == 5) return loop_->stop();
    current = loop_->after(0ns, tick);
  };
  current = loop_->after(0ns, tick);
  run();
  EXPECT_EQ(ticks, 5);
}

TEST_F(EpollLoopTest, PostsFromManyThreadsAllRunOnTheLoopsThread) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  int ran = 0;  // not atomic: only the loop's thread touches it
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kPosts; ++j) {
        loop_->post([&] {
          EXPECT_EQ(std::this_thread::get_id(), loop_thread);
          if (++ran == kThreads * kPosts) loop_->stop();
        });
      }
    });
  }
  run();
  EXPECT_EQ(ran, kThreads * kPosts);
}

TEST_F(EpollLoopTest, WhatWasPostedBeforeStopRunsAndStopBeforeRunReturnsAtOnce) {
  bool ran = false;
  loop_->post([&] { ran = true; });
  loop_->stop();
  run();
  EXPECT_TRUE(ran);
}

TEST_F(EpollLoopTest, StopFromAnotherThreadWakesAnIdleLoop) {
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(5ms);
    loop_->stop();
  });
  run();
}

TEST_F(EpollLoopTest, PostingFromACallbackDoesNotStarveDescriptors) {
  const Fd fd = signalled();
  std::function<void()> again = [&] { loop_->post(again); };
  loop_->post(again);
  loop_->watch(fd.get(), EPOLLIN, [&](uint32_t) { loop_->stop(); });
  run();
}

TEST_F(EpollLoopTest, WhileHeldItTellsWhetherSomethingWaits) {
  bool before = true;
  bool behind_another = true;
  bool after = false;
  loop_->post([&] { behind_another = loop_->is_idle(); });
  loop_->post([&] { after = loop_->is_idle(); });
  const Fd fd = signalled();
  loop_->after(1ms, [&] {
    loop_->watch(fd.get(), EPOLLIN, [&](uint32_t) {
      loop_->unwatch(fd.get());
      loop_->stop();
    });
    before = loop_->is_idle();
  });
  run();
  EXPECT_FALSE(behind_another) << "one more callback is in the row";
  EXPECT_TRUE(after);
  EXPECT_FALSE(before) << "a descriptor is readable";
}

TEST_F(EpollLoopTest, TellsWhenItsNextTimerIsDue) {
  ASSERT_TRUE(loop_->until_next_timer()) << "the test's own";
  EXPECT_GT(*loop_->until_next_timer(), 1s);
  const auto timer = loop_->after(100ms, [] {});
  EXPECT_LE(*loop_->until_next_timer(), 100ms);
  loop_->cancel(timer);
  EXPECT_GT(*loop_->until_next_timer(), 1s);
}

}  // namespace
}  // namespace thimble
