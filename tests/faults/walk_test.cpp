// kill -9 at every step of making a template, of a restore, a claim and a return, and a disk that
// is full at every step: payload guests, the real jail, store, pool and daemon.
//
// After each: nothing hangs, every process has ended, no file is left that should not be, no
// template is there that is not whole, and the next run works.
// STRIDE=N tries every N-th step; each test says how many there are.
#include <cstdlib>
#include <set>

#include "tests/faults/stepped.h"
#include "tests/payload/daemon_vms.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Kind = VmEvent::Kind;

constexpr auto kTimeout = 20s;
constexpr unsigned kFarTooMany = 5000;

unsigned stride() {
  const char* wanted = std::getenv("STRIDE");
  return wanted != nullptr ? static_cast<unsigned>(std::max(1, std::atoi(wanted))) : 1;
}

class Walk : public DaemonVms {
 protected:
  // Calls `once` for each step of the victim, until it gets through without having been hit.
  template <typename Once>
  void walk(StepPlan plan, Once once) {
    unsigned tried = 0;
    for (plan.at = 1; plan.at < kFarTooMany; plan.at += stride(), ++tried) {
      const StepReport report = once(plan);
      const std::string where = "step " + std::to_string(plan.at) + " (" + report.call + ")";
      ASSERT_TRUE(report.all_gone) << where << " leaves " << ::testing::PrintToString(report.left);
      ASSERT_FALSE(HasFailure()) << where;
      if (report.reached) continue;
      std::printf("%u of %u steps tried\n", tried, report.steps);
      EXPECT_GT(report.steps, 5U) << "nothing was walked";
      return;
    }
    FAIL() << "the victim never gets to its end";
  }

  // The store holds nothing in staging, and no template that cannot be opened.
  void expect_sound_store(const std::set<std::string>& allowed) {
    auto store = TemplateStore::open(store_);
    ASSERT_TRUE(store) << store.error().message;
    for (const std::string& name : store->names()) {
      EXPECT_TRUE(allowed.contains(name)) << name;
      const auto opened = store->open_template(name);
      EXPECT_TRUE(opened) << opened.error().message;
    }
    store->sweep();
    for (const auto& entry : fs::directory_iterator(store_)) {
      const std::string name = entry.path().filename().string();
      EXPECT_FALSE(name.starts_with(".making-") || name.starts_with(".old-")) << name;
    }
  }
};

// ---- making a template

VmSpec booting_spec() {
  VmSpec spec;
  spec.machine = payload_options("sleeping_echo");
  spec.machine.memory_bytes = kFrozenMemory;
  spec.machine.vsock.emplace();
  spec.report_console = true;
  return spec;
}

Result<void> wait_until(VmProcess& vm, Kind wanted) {
  for (;;) {
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    ::poll(&ready, 1, 10000);
    auto event = vm.next_event();
    if (!event && ready.revents == 0) return fail("nothing for ten seconds");
    if (!event) continue;
    if (event->kind == wanted) return {};
    if (event->kind == Kind::kEnded || event->kind == Kind::kRefused ||
        event->kind == Kind::kLost || event->kind == Kind::kUnsaved) {
      return fail(event->text);
    }
  }
}

// As `thimble template create` does it, but for what it says to guest-init.
Result<void> make_one(const std::string& folder, const std::string& name) {
  auto store = TemplateStore::open(folder);
  if (!store) return std::unexpected(store.error());
  auto lock = store->lock(name);
  if (!lock || !*lock) return fail("no lock");
  auto staging = store->stage(name);
  if (!staging) return std::unexpected(staging.error());
  auto vm = VmProcess::start(booting_spec());
  if (!vm) return std::unexpected(vm.error());
  if (auto up = wait_until(*vm, Kind::kConsole); !up) return up;
  auto files = staging->files();
  if (!files) return std::unexpected(files.error());
  if (auto asked = vm->save(std::move(*files), /*hold=*/true); !asked) return asked;
  if (auto saved = wait_until(*vm, Kind::kSaved); !saved) return saved;
  vm->kill();
  TemplateFacts facts;
  facts.memory_bytes = kFrozenMemory;
  facts.server.arguments = {"payload"};
  return staging->publish(std::move(facts));
}

class MakingWalk : public Walk {
 protected:
  bool has_new() {
    auto store = TemplateStore::open(store_);
    return store && store->has("new");
  }
  // `there`: another template of this name is there before, and so must one be afterwards.
  void walk_making(StepPlan plan, bool there) {
    unsigned made_before_the_end = 0;
    walk(plan, [&](const StepPlan& now) {
      auto store = TemplateStore::open(store_);
      if (there && !store->has("new")) {
        EXPECT_TRUE(make_one(store_, "new"));
      } else if (!there && store->has("new")) {
        EXPECT_TRUE(store->remove("new"));
      }
      auto tree = SteppedTree::start(now, [&] { return make_one(store_, "new") ? 0 : 1; });
      EXPECT_TRUE(tree);
      const StepReport report = tree->finish(kTimeout);
      if (now.error != 0) {
        EXPECT_TRUE(WIFEXITED(report.status)) << "it crashes: " << report.status;
        if (WIFEXITED(report.status) && WEXITSTATUS(report.status) == 0) {
          EXPECT_TRUE(has_new()) << "it says that the template is made";
        }
      }
      if (!report.reached) {
        EXPECT_TRUE(has_new());
      }
      if (there) {
        EXPECT_TRUE(has_new()) << "never none";
      }
      if (report.reached && has_new()) ++made_before_the_end;
      expect_sound_store({"ends", "sleeps", "new"});
      const auto next = make_one(store_, "new");
      EXPECT_TRUE(next) << next.error().message;
      return report;
    });
    if (!there) std::printf("%u of them had made it\n", made_before_the_end);
  }
};

TEST_F(MakingWalk, AMakerThatIsKilledAnywhereLeavesAWholeTemplateOrNone) {
  walk_making({}, /*there=*/false);
}
TEST_F(MakingWalk, AMakerThatIsKilledWhileItReplacesOneLeavesTheOldOrTheNew) {
  walk_making({.steps = Steps::kFiles}, /*there=*/true);
}
TEST_F(MakingWalk, AMakerWhoseVmmIsKilledAnywhereMakesNone) {
  walk_making({.victim = 1}, /*there=*/false);
}
TEST_F(MakingWalk, ADiskThatIsFullAtAnyStepOfTheMakersLeavesAWholeTemplateOrNone) {
  walk_making({.steps = Steps::kFiles, .error = ENOSPC}, /*there=*/false);
}
TEST_F(MakingWalk, ADiskThatIsFullAtAnyStepOfTheVmmsMakesNone) {
  walk_making({.steps = Steps::kFiles, .victim = 1, .error = ENOSPC}, /*there=*/true);
}

// ---- a clone of one's own

TEST_F(Walk, ARestoreIsKilledAtAnyStepAndTheNextOneRuns) {
  auto store = TemplateStore::open(store_);
  for (const unsigned victim : {0U, 1U}) {
    walk({.victim = victim}, [&](const StepPlan& now) {
      auto tree = SteppedTree::start(now, [&] {
        auto opened = store->open_template("ends");
        if (!opened) return 1;
        VmSpec spec;
        spec.machine.memory_bytes = kFrozenMemory;
        spec.machine.vsock.emplace();
        spec.snapshot = std::move(opened->files);
        auto vm = VmProcess::start(std::move(spec));
        if (!vm) return 2;
        const VmEvent end = last_event(*vm);
        return end.kind == Kind::kEnded ? 0 : end.kind == Kind::kLost ? 3 : 4;
      });
      const StepReport report = tree->finish(kTimeout);
      // Its parent says that it was lost, or had heard of its end already.
      if (victim == 1 && report.reached) {
        const int status = WIFEXITED(report.status) ? WEXITSTATUS(report.status) : -1;
        EXPECT_TRUE(status == 3 || status == 0) << status;
      }
      if (!report.reached) {
        EXPECT_EQ(report.status, 0);
      }
      return report;
    });
  }
  expect_sound_store({"ends", "sleeps"});
}

// ---- the daemon

class DaemonWalk : public Walk {
 protected:
  Result<SteppedTree> start_traced(const StepPlan& plan) {
    auto tree = SteppedTree::start(plan, [this] { return serve({}); });
    for (int i = 0; i < 5000 && tree && ::kill(tree->pid(), 0) == 0; ++i) {
      const auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
      if (client && *client) break;
      ::usleep(2000);
    }
    return tree;
  }
  void ask_to_end() {
    auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
    DaemonRequest request;
    request.op = DaemonRequest::Op::kStop;
    if (client && *client) (void)(*client)->ask(request, 5s);
  }
  // A claim that runs to its end, and one that is given back while it runs. How many were served.
  int use_it() {
    int served = 0;
    if (auto first = claim("ends"); first.vm) {
      if (last_event(*first.vm).kind == Kind::kEnded) ++served;
    }
    if (auto second = claim("sleeps"); second.vm) {
      if (second.vm->ping(1) && wait_until(*second.vm, Kind::kPong)) ++served;
    }
    return served;
  }
  void expect_clean_folder() {
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      EXPECT_TRUE(name == "templates" || name == "daemon.lock" || name == "daemon.sock") << name;
    }
  }
};

TEST_F(DaemonWalk, ADaemonThatIsKilledAnywhereTakesItsVmsWithItAndTheNextOneServes) {
  walk({}, [&](const StepPlan& now) {
    auto tree = start_traced(now);
    EXPECT_TRUE(tree);
    // Its client is there to the end, and keeps the way to it open.
    const auto held = claim("sleeps");
    const int served = use_it();
    ask_to_end();
    StepReport report = tree->finish(kTimeout);
    if (!report.reached) {
      EXPECT_EQ(served, 2);
    }
    expect_clean_folder();
    start();
    EXPECT_EQ(use_it(), 2) << "the next one";
    kill_daemon();
    return report;
  });
}

TEST_F(DaemonWalk, AWarmVmThatIsKilledAnywhereIsReplacedOrItsClientIsTold) {
  walk({.victim = 1}, [&](const StepPlan& now) {
    auto tree = start_traced(now);
    EXPECT_TRUE(tree);
    const auto begin = std::chrono::steady_clock::now();
    auto first = claim("ends");
    EXPECT_TRUE(first.vm) << first.refused << first.unreachable;
    if (first.vm) {
      const VmEvent end = last_event(*first.vm);
      const bool told = end.kind == Kind::kEnded || (end.kind == Kind::kLost && !end.text.empty());
      EXPECT_TRUE(told) << static_cast<int>(end.kind) << " " << end.text;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
    EXPECT_EQ(use_it(), 2);
    ask_to_end();
    return tree->finish(kTimeout);
  });
}

TEST_F(DaemonWalk, AClientThatIsKilledAnywhereLeavesNoVm) {
  start();
  EXPECT_EQ(use_it(), 2);
  const auto settle = [this] {
    EXPECT_TRUE(wait_for("claimed", 0) && wait_for("dying", 0) && wait_for("preparing", 0));
    return entries_of("/proc/" + std::to_string(pid_) + "/fd");
  };
  ::usleep(500'000);  // the warm VMs that take the place of the two
  const size_t before = settle();
  walk({}, [&](const StepPlan& now) {
    auto tree = SteppedTree::start(now, [this] {
      auto claimed = claim("sleeps");
      if (!claimed.vm || !claimed.vm->ping(1)) return 1;
      return wait_until(*claimed.vm, Kind::kPong) ? 0 : 2;
    });
    EXPECT_TRUE(tree);
    StepReport report = tree->finish(kTimeout);
    if (!report.reached) {
      EXPECT_EQ(report.status, 0);
    }
    EXPECT_TRUE(wait_for("claimed", 0));
    return report;
  });
  EXPECT_EQ(use_it(), 2);
  ::usleep(500'000);
  // Each warm VM that waits has four; there may be a few more of them by now.
  EXPECT_LE(settle(), before + 4 * pids_in("ready").size());
}

}  // namespace
}  // namespace thimble::test
