// A folder of our own with hostile things in it: nothing of others is followed, waited for, read or
// written. A canary beside it must never change.
#include "devices/base/owned_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>

#include "devices/base/file_lock.h"

namespace thimble {
namespace {

namespace fs = std::filesystem;
using Kind = FileFault::Kind;

constexpr uid_t kOther = 4321;
constexpr const char* kCanary = "what root had";

class OwnedFolderTest : public testing::Test {
 protected:
  OwnedFolderTest() {
    std::string name = fs::temp_directory_path() / "owned-XXXXXX";
    root_ = ::mkdtemp(name.data());
    std::ofstream(canary()) << kCanary;
    fs::create_directory(path());
    fs::permissions(path(), fs::perms::owner_all);
  }
  ~OwnedFolderTest() override {
    EXPECT_EQ(text_of(canary()), kCanary);
    fs::remove_all(root_);
  }

  fs::path canary() const { return root_ / "canary"; }
  fs::path path() const { return root_ / "folder"; }
  OwnedFolder folder() const { return *OwnedFolder::open(path()); }
  static std::string text_of(const fs::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static Kind kind_of(const auto& result) { return result ? Kind::kPassing : result.error().kind; }

  // All that can stand in a file's place.
  std::vector<std::function<void(const fs::path&)>> hostile() const {
    std::vector<std::function<void(const fs::path&)>> all = {
        [this](const fs::path& at) { fs::create_symlink(canary(), at); },
        [this](const fs::path& at) { fs::create_symlink(root_ / "new", at); },
        [](const fs::path& at) { ::mkfifo(at.c_str(), 0600); },
        [](const fs::path& at) { fs::create_directory(at); },
        [](const fs::path& at) { make_socket(at); },
    };
    if (::geteuid() != 0) return all;
    all.emplace_back([](const fs::path& at) {
      std::ofstream(at) << "theirs";
      ASSERT_EQ(::chown(at.c_str(), kOther, kOther), 0);
    });
    return all;
  }
  static void make_socket(const fs::path& at) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    at.string().copy(address.sun_path, sizeof address.sun_path - 1);
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }

  fs::path root_;
};

TEST_F(OwnedFolderTest, WhatIsWrittenIsRead) {
  const OwnedFolder own = folder();
  ASSERT_TRUE(own.replace("it", "one", OwnedFolder::Durable::kYes));
  ASSERT_TRUE(own.replace("it", "two", OwnedFolder::Durable::kNo));
  EXPECT_EQ(own.content("it", 3), "two");
  EXPECT_EQ(kind_of(own.content("it", 2)), Kind::kUnsound) << "longer than that";
  ASSERT_TRUE(own.make_folder("deep"));
  ASSERT_TRUE(own.replace("deep/it", std::string(10000, 'x'), OwnedFolder::Durable::kNo));
  EXPECT_EQ(own.content("deep/it", 10000), std::string(10000, 'x'));
  EXPECT_EQ(*own.names(), (std::vector<std::string>{"deep", "it"}));
  EXPECT_FALSE(own.create("it")) << "it is there";
  ASSERT_TRUE(own.remove("it"));
  EXPECT_TRUE(own.remove("it")) << "again";
  EXPECT_EQ(kind_of(own.read("it")), Kind::kMissing);
  struct stat info{};
  ASSERT_EQ(::stat((path() / "deep/it").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(OwnedFolderTest, NothingInAFilesPlaceIsReadWrittenOrWaitedFor) {
  const OwnedFolder own = folder();
  int number = 0;
  for (const auto& put : hostile()) {
    const std::string name = "it" + std::to_string(++number);
    put(path() / name);
    EXPECT_EQ(kind_of(own.read(name)), Kind::kUnsound) << number;
    EXPECT_EQ(kind_of(own.content(name, 100)), Kind::kUnsound) << number;
    EXPECT_EQ(kind_of(own.write_to(name)), Kind::kUnsound) << number;
    EXPECT_EQ(kind_of(own.write_to(name, O_APPEND)), Kind::kUnsound) << number;
    EXPECT_EQ(kind_of(FileLock::take(own, name)), Kind::kUnsound) << number;
    EXPECT_FALSE(own.create(name)) << number;
    EXPECT_FALSE(fs::exists(root_ / "new")) << number;
  }
}

TEST_F(OwnedFolderTest, WhatStandsInTheWayIsReplacedAndNotWrittenThrough) {
  const OwnedFolder own = folder();
  int number = 0;
  for (const auto& put : hostile()) {
    const std::string name = "it" + std::to_string(++number);
    put(path() / name);
    put(path() / (name + "." + std::to_string(::getpid()) + ".new"));
    if (fs::is_directory(fs::symlink_status(path() / name))) continue;
    ASSERT_TRUE(own.replace(name, "ours", OwnedFolder::Durable::kNo)) << number;
    EXPECT_EQ(own.content(name, 100), "ours") << number;
    EXPECT_FALSE(fs::exists(root_ / "new")) << number;
  }
}

TEST_F(OwnedFolderTest, NoStepOfANameLeadsAway) {
  const OwnedFolder own = folder();
  fs::create_directory(root_ / "elsewhere");
  std::ofstream(root_ / "elsewhere/it") << "theirs";
  fs::create_directory_symlink(root_ / "elsewhere", path() / "deep");
  fs::create_directory_symlink("/proc/self/cwd", path() / "magic");
  for (const std::string name :
       {"deep/it", "magic/it", "../canary", "../folder/it", "/etc/passwd"}) {
    EXPECT_FALSE(own.read(name)) << name;
    EXPECT_FALSE(own.write_to(name)) << name;
    EXPECT_FALSE(own.replace(name, "x", OwnedFolder::Durable::kNo)) << name;
  }
  EXPECT_EQ(kind_of(own.folder("deep")), Kind::kUnsound);
  EXPECT_EQ(kind_of(own.make_folder("deep")), Kind::kUnsound);
  EXPECT_EQ(text_of(root_ / "elsewhere/it"), "theirs");
}

TEST_F(OwnedFolderTest, AFileWithASecondNameIsReadButNotWrittenTo) {
  const OwnedFolder own = folder();
  fs::create_hard_link(canary(), path() / "it");
  EXPECT_EQ(own.content("it", 100), kCanary);
  EXPECT_EQ(kind_of(own.write_to("it")), Kind::kUnsound);
  EXPECT_EQ(kind_of(FileLock::take(own, "it")), Kind::kUnsound);
  ASSERT_TRUE(own.replace("it", "ours", OwnedFolder::Durable::kNo));
}

TEST_F(OwnedFolderTest, AFolderThatOthersCanEnterOrWriteToIsRefusedWithTheMend) {
  for (const mode_t mode : {0755, 0710, 0701, 0770, 0777, 01777}) {
    ASSERT_EQ(::chmod(path().c_str(), mode), 0);
    const auto closed = OwnedFolder::open(path());
    EXPECT_EQ(kind_of(closed), Kind::kUnsound) << mode;
    EXPECT_NE(closed.error().message.find("chmod 700 " + path().string()), std::string::npos);
    EXPECT_EQ(OwnedFolder::open(path(), {.others_may_read = true}).has_value(), (mode & 022) == 0)
        << mode;
  }
}

TEST_F(OwnedFolderTest, InAFolderThatOthersReadAFileThatTheyWriteIsRefused) {
  ASSERT_EQ(::chmod(path().c_str(), 0755), 0);
  const auto shared = OwnedFolder::open(path(), {.others_may_read = true});
  ASSERT_TRUE(shared);
  ASSERT_TRUE(shared->replace("it", "ours", OwnedFolder::Durable::kNo));
  ASSERT_EQ(::chmod((path() / "it").c_str(), 0666), 0);
  EXPECT_EQ(kind_of(shared->read("it")), Kind::kUnsound);
}

TEST_F(OwnedFolderTest, ALinkIsAFolderOnlyWhereAUserNamesIt) {
  fs::create_directory_symlink(path(), root_ / "link");
  EXPECT_FALSE(OwnedFolder::open(root_ / "link"));
  EXPECT_FALSE(OwnedFolder::make(root_ / "link"));
  EXPECT_TRUE(OwnedFolder::open(root_ / "link", {.may_be_link = true}));
  EXPECT_EQ(kind_of(OwnedFolder::open(canary())), Kind::kUnsound);
  EXPECT_EQ(kind_of(OwnedFolder::open(root_ / "none")), Kind::kMissing);
}

TEST_F(OwnedFolderTest, OneOfAnotherUserIsRefusedAndSaysWhose) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make files of somebody else";
  ASSERT_EQ(::chown(path().c_str(), kOther, kOther), 0);
  for (const bool others : {false, true}) {
    const auto theirs =
        OwnedFolder::make(path(), {.others_may_read = others, .if_foreign = "go somewhere else"});
    EXPECT_EQ(kind_of(theirs), Kind::kUnsound);
    EXPECT_NE(theirs.error().message.find("belongs to user 4321, not to you: go somewhere else"),
              std::string::npos)
        << theirs.error().message;
  }
  ASSERT_EQ(::chown(path().c_str(), 0, 0), 0);
  fs::create_directory(path() / "inner");
  ASSERT_EQ(::chown((path() / "inner").c_str(), kOther, kOther), 0);
  EXPECT_EQ(kind_of(folder().folder("inner")), Kind::kUnsound);
  EXPECT_EQ(kind_of(folder().make_folder("inner")), Kind::kUnsound);
}

TEST_F(OwnedFolderTest, IsMadeClosedWithThoseAboveIt) {
  const mode_t before = ::umask(0);
  const auto made = OwnedFolder::make(root_ / "a/b/c");
  ::umask(before);
  ASSERT_TRUE(made) << made.error().message;
  struct stat info{};
  ASSERT_EQ(::stat((root_ / "a/b/c").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  EXPECT_TRUE(OwnedFolder::make(root_ / "a/b/c")) << "again";
}

// Somebody who may write above it: what is open stays ours, whatever has its name.
TEST_F(OwnedFolderTest, IsTheSameOneWhateverTakesItsName) {
  const OwnedFolder own = folder();
  fs::rename(path(), root_ / "away");
  fs::create_directory_symlink(root_, path());
  ASSERT_TRUE(own.replace("canary", "ours", OwnedFolder::Durable::kNo));
  EXPECT_EQ(text_of(root_ / "away/canary"), "ours");
}

// No descriptors: that says nothing about the file.
TEST_F(OwnedFolderTest, AShortageIsNoVerdict) {
  const OwnedFolder own = folder();
  ASSERT_TRUE(own.replace("it", "one", OwnedFolder::Durable::kNo));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{static_cast<rlim_t>(own.fd()) + 1, before.rlim_max};
  std::vector<Fd> taken;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  while (taken.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC))) {
  }
  const auto read = own.read("it");
  const auto opened = OwnedFolder::open(path());
  const auto names = own.names();
  const auto lock = FileLock::take(own, "lock");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const auto* fault : {&read.error(), &names.error(), &lock.error(), &opened.error()}) {
    EXPECT_EQ(fault->kind, Kind::kPassing) << fault->message;
    EXPECT_NE(fault->message.find("Too many open files"), std::string::npos) << fault->message;
  }
  EXPECT_EQ(own.content("it", 100), "one");
}

TEST_F(OwnedFolderTest, ALockIsOneProcessesAndLeavesNoFile) {
  const OwnedFolder own = folder();
  {
    const auto held = FileLock::take(own, "lock");
    ASSERT_TRUE(held && *held);
    EXPECT_EQ(lock_holder(own, "lock"), ::getpid());
    const auto second = FileLock::take(own, "lock");
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_FALSE(*second);
  }
  EXPECT_TRUE(own.names()->empty());
  EXPECT_EQ(lock_holder(own, "lock"), 0);
}

TEST_F(OwnedFolderTest, AFolderThatIsFilledIsItsMakersUntilThatEnds) {
  const OwnedFolder own = folder();
  ASSERT_TRUE(own.make_folder("staging"));
  {
    const auto held = lock_folder(own, "staging");
    ASSERT_TRUE(held && *held);
    const auto second = lock_folder(own, "staging");
    EXPECT_TRUE(second && !*second);
  }
  EXPECT_TRUE(lock_folder(own, "staging").value());
  EXPECT_FALSE(lock_folder(own, "gone").value());
  EXPECT_FALSE(OwnedFolder::make_new(own.fd(), "staging", "staging")) << "it is there";
}

}  // namespace
}  // namespace thimble
