// Locks on files that are open already.
#include "devices/base/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "devices/base/pipe.h"

namespace thimble {
namespace {

class LockFileTest : public testing::Test {
 protected:
  LockFileTest() : path_(testing::TempDir() + "lock_file." + std::to_string(::getpid())) {}
  ~LockFileTest() override { ::unlink(path_.c_str()); }

  // Each as another program would open it.
  [[nodiscard]] Fd open() const {
    return Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  }

  static bool locks(const Fd& file, LockKind kind) {
    const auto locked = lock_file(file.get(), kind, "it");
    EXPECT_TRUE(locked) << locked.error().message;
    return locked && *locked;
  }

  std::string path_;
};

TEST_F(LockFileTest, OneAloneKeepsAllOthersOut) {
  const Fd one = open();
  const Fd two = open();
  EXPECT_TRUE(locks(one, {}));
  EXPECT_FALSE(locks(two, {}));
  EXPECT_FALSE(locks(two, {.shared = true}));
}

TEST_F(LockFileTest, ThoseThatShareKeepOutWhoWantsItAlone) {
  const Fd one = open();
  const Fd two = open();
  const Fd three = open();
  EXPECT_TRUE(locks(one, {.shared = true}));
  EXPECT_TRUE(locks(two, {.shared = true}));
  EXPECT_FALSE(locks(three, {}));
}

TEST_F(LockFileTest, GoesWithItsHolderHoweverThatEnds) {
  auto held = make_pipe();
  ASSERT_TRUE(held);
  const pid_t holder = ::fork();
  if (holder == 0) {
    const Fd file = open();
    if (locks(file, {})) (void)!::write(held->write.get(), "h", 1);
    ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(held->read.get(), &byte, 1), 1);
  const Fd file = open();
  EXPECT_FALSE(locks(file, {}));
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  EXPECT_TRUE(locks(file, {}));
}

TEST_F(LockFileTest, IsWaitedForWhereThatIsAsked) {
  Fd one = open();
  const Fd two = open();
  ASSERT_TRUE(locks(one, {}));
  bool had = false;
  {
    const std::jthread waiter([&] { had = locks(two, {.wait = true}); });
    one.reset();
  }
  EXPECT_TRUE(had);
  EXPECT_FALSE(locks(open(), {}));
}

TEST_F(LockFileTest, OfNoFileIsAnErrorThatNamesIt) {
  const auto locked = lock_file(-1, {}, "/some/where");
  ASSERT_FALSE(locked);
  EXPECT_NE(locked.error().message.find("lock /some/where"), std::string::npos);
}

}  // namespace
}  // namespace thimble
