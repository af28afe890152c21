// A guest brought to its freezing point by the pool's side, with guest-init's own session as guest.
#include "pool/template/freeze.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/server-run/fake_vm.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;

class FreezeGuest : public testing::Test {
 protected:
  FreezeGuest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "thimble-freeze-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~FreezeGuest() override { std::filesystem::remove_all(directory_); }

  Result<FrozenGuest> freeze(const std::string& script) {
    auto vm = VmProcess::start(guest_without_vm(directory_), {}, false);
    if (!vm) return std::unexpected(vm.error());
    request.server.arguments = {"sh", "-c", script};
    request.server.environment = {"PATH=/usr/bin:/bin"};
    request.on_stderr = [this](std::string_view bytes) { errors += bytes; };
    auto frozen = freeze_guest(*vm, request);
    vm->kill();
    return frozen;
  }

  void note_unreseeded(const std::string& process) const {
    std::ofstream(directory_ + "/unreseeded") << process;
  }
  const std::string& directory() const { return directory_; }

  FreezeRequest request;
  std::string errors;

 private:
  std::string directory_;
};

TEST_F(FreezeGuest, AServerThatAwaitsItsInputIsFrozenAndItsErrorsAreShown) {
  const auto frozen = freeze("echo ready >&2; exec cat");
  EXPECT_TRUE(frozen) << frozen.error().message;
  EXPECT_EQ(errors, "ready\n");
  ASSERT_TRUE(frozen);
  EXPECT_EQ(frozen->unreseeded, "");
}

TEST_F(FreezeGuest, AProcessThatIsNotReseededIsNamed) {
  note_unreseeded("process 45 (/bin/rnd)");
  const auto frozen = freeze("exec cat");
  ASSERT_TRUE(frozen) << frozen.error().message;
  EXPECT_EQ(frozen->unreseeded, "process 45 (/bin/rnd)");
}

TEST_F(FreezeGuest, AServerThatEndsIsReportedWithItsStatusAndItsLastWords) {
  const auto frozen = freeze("echo broken >&2; exit 3");
  ASSERT_FALSE(frozen);
  EXPECT_NE(frozen.error().message.find("status 3"), std::string::npos) << frozen.error().message;
  EXPECT_EQ(errors, "broken\n");
}

TEST_F(FreezeGuest, ACommandThatIsNotThereIsNamed) {
  request.server.arguments = {};
  const auto frozen = freeze("exec /does/not/exist");
  ASSERT_FALSE(frozen);
  EXPECT_NE(frozen.error().message.find("status 127"), std::string::npos) << frozen.error().message;
}

TEST_F(FreezeGuest, AServerThatNeverSettlesIsGivenUpWithTheReason) {
  request.ready_limit = milliseconds(300);
  const auto frozen = freeze("ulimit -t 3; while :; do :; done");
  ASSERT_FALSE(frozen);
  EXPECT_NE(frozen.error().message.find("thread"), std::string::npos) << frozen.error().message;
}

// The machine was busy: the VM waited for a processor for all of the time that it was given.
TEST_F(FreezeGuest, TimeWithoutAProcessorDoesNotCount) {
  request.ready_limit = milliseconds(500);
  const std::string begun = directory() + "/begun";
  int asked = 0;
  request.processor_wait = [&](pid_t) {
    if (++asked == 2) std::ofstream(begun).flush();  // after the first limit has passed
    return asked * request.ready_limit;
  };
  const auto frozen = freeze("while [ ! -e " + begun + " ]; do :; done; exec cat");
  EXPECT_TRUE(frozen) << frozen.error().message;
  EXPECT_GE(asked, 2);
}

TEST_F(FreezeGuest, ButNotForEver) {
  request.ready_limit = milliseconds(20);
  int asked = 0;
  request.processor_wait = [&](pid_t) { return ++asked * request.ready_limit; };
  const auto frozen = freeze("ulimit -t 5; while :; do :; done");
  ASSERT_FALSE(frozen);
  EXPECT_NE(frozen.error().message.find("thread"), std::string::npos) << frozen.error().message;
}

TEST(ProcessorWait, IsReadFromTheKernelAndNothingForNobody) {
  EXPECT_GE(processor_wait(::getpid()).count(), 0);
  EXPECT_EQ(processor_wait(-1).count(), 0);
}

TEST_F(FreezeGuest, BeforeItsServerAGuestIsFrozenWithoutStartingIt) {
  request.point = FreezeRequest::Point::kBeforeExec;
  EXPECT_TRUE(freeze("echo started >&2; exec cat"));
  EXPECT_EQ(errors, "");
}

}  // namespace
}  // namespace thimble::test
