// The store on disk and the builds that several processes share.
#include "pool/image/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "pool/image/ensure.h"
#include "pool/image/request_key.h"
#include "pool/image/sha256.h"
#include "tests/unit/image/scratch.h"
#include "tools/image/build.h"
#include "tools/image/erofs.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

void ignore_line(std::string_view) {}

class StoreTest : public testing::Test {
 protected:
  StoreTest() : store_(*Store::open_at(scratch_.path() / "cache")) {
    scratch_.add("tree/hello.txt", "hello");
  }

  Request directory_request() { return *request_directory(scratch_.path() / "tree", "mine"); }

  Image build() {
    const Result<Image> image =
        ensure_image(store_, directory_request(), {.progress = ignore_line});
    EXPECT_TRUE(image) << image.error().message;
    return image ? *image : Image{};
  }

  // Number of entries below a directory of the store.
  std::size_t count(const char* part) { return list_directory(store_.root() / part).size(); }

  std::string only_log_line(const Request& request) {
    std::string lines;
    const Progress collect = [&](std::string_view line) { lines += std::string(line) + "|"; };
    EXPECT_TRUE(ensure_image(store_, request, {.progress = collect}));
    return lines;
  }

  Scratch scratch_;
  Store store_;
};

TEST_F(StoreTest, ABuiltImageIsFoundByNameAndDigestAndListed) {
  const Image image = build();
  EXPECT_EQ(store_.find("mine")->digest, image.digest);
  EXPECT_EQ(store_.find(image.digest.substr(0, 12))->digest, image.digest);
  ASSERT_EQ(store_.names()->size(), 1U);
  EXPECT_EQ((*store_.names())[0].name, "mine");
  EXPECT_TRUE(store_.verify(image));
}

TEST_F(StoreTest, AFolderWhoseNameLooksLikeAnErrorIsBuilt) {
  const std::string odd = "x\033[2J\nerror: all is lost\ne all is lost";
  scratch_.add(odd + "/" + odd, "hello");
  const Result<Request> request = request_directory(scratch_.path() / odd, "odd");
  ASSERT_TRUE(request) << request.error().message;
  std::string lines;
  const Progress collect = [&](std::string_view line) { lines += std::string(line) + "|"; };
  const Result<Image> image = ensure_image(store_, *request, {.progress = collect});
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_NE(lines.find("x\\x1b[2J\\x0aerror: all is lost"), std::string::npos) << lines;
  EXPECT_EQ(lines.find_first_of("\n\033"), std::string::npos) << lines;
}

TEST_F(StoreTest, NothingButTheImageIsLeftAfterABuild) {
  build();
  EXPECT_EQ(count("tmp"), 0U);
  EXPECT_EQ(count("locks"), 0U);
  EXPECT_EQ(count("logs"), 0U);
}

TEST_F(StoreTest, AnUnchangedDirectoryIsNotBuiltAgain) {
  build();
  EXPECT_EQ(only_log_line(directory_request()), "");
  scratch_.add("tree/new.txt");
  EXPECT_NE(only_log_line(directory_request()), "");
}

TEST_F(StoreTest, ADamagedImageIsRefusedAndBuiltAgain) {
  const Image image = build();
  ASSERT_EQ(::truncate(image.erofs.c_str(), static_cast<off_t>(image.size) - 1), 0);
  EXPECT_FALSE(store_.find("mine"));
  EXPECT_EQ(build().digest, image.digest);
  EXPECT_TRUE(store_.find("mine"));
}

TEST_F(StoreTest, AnAlteredManifestIsRefused) {
  const Image image = build();
  const fs::path file = store_.root() / image.digest / "manifest.json";
  std::string text = *read_file(file);
  text.replace(text.find("\"command\""), 9, "\"Command\"");
  ASSERT_TRUE(write_file(file, text));
  const Result<Image> found = store_.find("mine");
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("altered"), std::string::npos);
}

TEST_F(StoreTest, WhatAnImageWasMadeFromIsKeptBesideItsManifest) {
  const Image image = build();
  const auto inputs = store_.inputs(image);
  ASSERT_TRUE(inputs) << inputs.error().message;
  EXPECT_EQ((*inputs)["builder"], kBuilderVersion);
  const fs::path file = store_.root() / image.digest / "inputs.json";
  for (const char* altered : {"{}\n", "", "["}) {
    ASSERT_TRUE(write_file(file, altered));
    EXPECT_TRUE(store_.find("mine"));  // no start needs it
    const auto read = store_.inputs(image);
    ASSERT_FALSE(read) << altered;
    EXPECT_NE(read.error().message.find("altered"), std::string::npos);
  }
  fs::remove(file);
  EXPECT_FALSE(store_.inputs(image));
}

TEST_F(StoreTest, AnImageOfAnEarlierFormatIsBuiltAgain) {
  const Image image = build();
  const fs::path folder = store_.root() / image.digest;
  std::string text = *read_file(folder / "manifest.json");
  text.replace(text.find("\"format\": 2"), 11, "\"format\": 1");
  const std::string old = sha256_text(text);
  ASSERT_TRUE(write_file(folder / "manifest.json", text));
  fs::rename(folder, store_.root() / old);
  ASSERT_TRUE(store_.set_name({"mine", old, *request_key(directory_request())}));
  EXPECT_FALSE(store_.find("mine"));
  EXPECT_EQ(build().digest, image.digest);
}

TEST_F(StoreTest, VerifyFindsOneChangedByte) {
  const Image image = build();
  const int fd = ::open(image.erofs.c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, "X", 1, static_cast<off_t>(image.size) - 1), 1);
  ::close(fd);
  EXPECT_TRUE(store_.find("mine"));
  EXPECT_FALSE(store_.verify(image));
}

TEST_F(StoreTest, AnImageWithTwoNamesLivesUntilBothAreGone) {
  const Image image = build();
  ASSERT_TRUE(store_.set_name({"second", image.digest, "x"}));
  ASSERT_TRUE(store_.remove("mine"));
  EXPECT_TRUE(store_.find("second"));
  ASSERT_TRUE(store_.remove("second"));
  EXPECT_FALSE(fs::exists(image.erofs));
  EXPECT_FALSE(store_.remove("second"));
}

TEST_F(StoreTest, HostileNamesStayInsideTheStore) {
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "", ".", "..", "a\nb", "%2e%2e/x"}) {
    EXPECT_FALSE(store_.find(name)) << name;
    EXPECT_FALSE(store_.remove(name)) << name;
    ASSERT_TRUE(store_.set_name({std::string("x") + name, std::string(64, 'a'), ""})) << name;
  }
  EXPECT_EQ(list_directory(scratch_.path() / "cache").size(), 1U);
}

TEST_F(StoreTest, DamagedNameFilesAreNotNames) {
  ASSERT_TRUE(make_directories(store_.root() / "names"));
  for (const char* text :
       {"", "{", "[]", "{\"name\":1}", "{\"name\":\"x\",\"digest\":\"../..\"}"}) {
    ASSERT_TRUE(write_file(store_.root() / "names/x.json", text));
    EXPECT_FALSE(store_.find("x"));
    EXPECT_TRUE(store_.names()->empty());
  }
}

TEST_F(StoreTest, TwoProcessesThatWantOneImageBuildItOnce) {
  const fs::path log = scratch_.path() / "starts";
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool waited = false;
      const Progress watch = [&](std::string_view line) { waited |= line.starts_with("waiting"); };
      const Result<Image> image = ensure_image(store_, directory_request(), {.progress = watch});
      ::_exit(!image ? 1 : waited ? 2 : 3);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_GE(WEXITSTATUS(status), 2);
  }
  EXPECT_EQ(store_.names()->size(), 1U);
  EXPECT_EQ(count("tmp"), 0U);
}

TEST_F(StoreTest, WhoComesSecondIsToldAndWaitsForTheFirst) {
  Result<std::optional<FileLock>> held = store_.lock("mine");
  ASSERT_TRUE(held && *held);
  std::thread release([&held] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    held->reset();
  });
  const auto start = std::chrono::steady_clock::now();
  const std::string lines = only_log_line(directory_request());
  release.join();
  EXPECT_NE(lines.find("waiting for process " + std::to_string(::getpid())), std::string::npos);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(150));
}

TEST_F(StoreTest, ABuildGoesOnWhenItsClientIsKilled) {
  // Large enough that the client surely dies first.
  scratch_.add("tree/large", std::string(48 << 20, 'x'));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t client = ::fork();
  if (client == 0) {
    const Progress tell = [&](std::string_view) { (void)!::write(ends[1], "!", 1); };
    const Progress watch = [&](std::string_view line) {
      if (line.starts_with("copying")) tell(line);
    };
    ensure_image(store_, directory_request(), {.progress = watch});
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);
  ::kill(client, SIGKILL);
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
  ::close(ends[0]);
  ::close(ends[1]);
  for (int i = 0; i < 1000 && store_.names()->empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_TRUE(store_.find("mine")) << "nobody finished the build";
}

TEST_F(StoreTest, ADetachedBuilderHoldsNoneOfItsClientsDescriptors) {
  scratch_.add("tree/large", std::string(48 << 20, 'x'));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t client = ::fork();
  if (client == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    const Progress leave = [&](std::string_view line) {
      if (line.starts_with("copying")) ::_exit(0);
    };
    ensure_image(store_, directory_request(), {.progress = leave});
    ::_exit(1);
  }
  ::close(ends[1]);
  char byte = 0;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(::read(ends[0], &byte, 1), 0) << "something was written to stdout";
  const bool still_building = store_.names()->empty();
  ::close(ends[0]);
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
  EXPECT_TRUE(still_building || std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
  EXPECT_TRUE(ensure_image(store_, directory_request(), {.progress = ignore_line}));
}

TEST_F(StoreTest, AFailedBuildSaysWhyAndLeavesNothing) {
  Request request = directory_request();
  request.kind = Request::Kind::kNpm;
  request.name = "npm:x@latest";
  request.npm = {"x", "latest"};
  // Where no registry answers.
  ::setenv("npm_config_registry", "http://127.0.0.1:1/", 1);
  ::setenv("npm_config_fetch_retries", "0", 1);
  const Result<Image> image = ensure_image(store_, request, {.progress = ignore_line});
  ::unsetenv("npm_config_registry");
  ::unsetenv("npm_config_fetch_retries");
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().message.find("ECONNREFUSED"), std::string::npos) << image.error().message;
  EXPECT_EQ(count("tmp"), 0U);
  EXPECT_EQ(count("locks"), 0U);
}

TEST_F(StoreTest, AFullDiskIsToldAsSuchAndLeavesNothing) {
  scratch_.add("tree/large", std::string(4 << 20, 'x'));
  // The limit stands in for a disk: writes beyond it fail.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Request request = directory_request();
  request.kind = Request::Kind::kHostPath;
  const Result<Image> image = ensure_image(store_, request, {.progress = ignore_line});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(image);
  EXPECT_TRUE(image.error().message.starts_with("disk full: ")) << image.error().message;
  EXPECT_EQ(count("tmp"), 0U);
  EXPECT_TRUE(store_.names()->empty());
}

TEST_F(StoreTest, WhatADeadBuilderLeftIsSweptAndALiveOnesStays) {
  ASSERT_TRUE(store_.make_build_directory("dead"));
  ASSERT_TRUE(store_.make_build_directory("live"));
  const Result<std::optional<FileLock>> lock = store_.lock("live");
  ASSERT_TRUE(lock && *lock);
  store_.sweep();
  ASSERT_EQ(count("tmp"), 1U);
  EXPECT_TRUE(list_directory(store_.root() / "tmp")[0].filename().string().starts_with("live."));
}

TEST_F(StoreTest, ABuilderRemovesWhatKilledOnesOfTheSameImageLeftAndNothingElse) {
  const Result<std::optional<FileLock>> lock = store_.lock("mine");
  ASSERT_TRUE(lock && *lock);
  const auto folder = [&](const char* name) { return store_.root() / "tmp" / name; };
  for (const char* name : {"mine.1", "mine.99999999", "mine.2.3", "minute.1"}) {
    ASSERT_TRUE(make_directories(folder(name) / "build"));
  }
  const Result<fs::path> own = store_.make_build_directory("mine");
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_TRUE(fs::is_empty(*own));
  EXPECT_FALSE(fs::exists(folder("mine.1")));
  EXPECT_FALSE(fs::exists(folder("mine.99999999")));
  EXPECT_TRUE(fs::exists(folder("mine.2.3"))) << "of the image mine.2";
  EXPECT_TRUE(fs::exists(folder("minute.1")));
}

TEST_F(StoreTest, CopiesOfHostDirectoriesThatNobodyUsesAreSweptAndImagesStay) {
  const Image image = build();
  ASSERT_TRUE(store_.set_name({"path:/x", image.digest, "k"}));
  store_.sweep();
  EXPECT_EQ(store_.names()->size(), 2U) << "used just now";
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (store_.root() / image.digest).c_str(), old, 0), 0);
  store_.sweep();
  ASSERT_EQ(store_.names()->size(), 1U);
  EXPECT_EQ((*store_.names())[0].name, "mine");
  ASSERT_TRUE(store_.find("mine")) << "an image that a user named is kept";
  const Image used = *store_.find("mine");
  ASSERT_TRUE(store_.set_name({"mine", std::string(64, 'a'), "k"}));
  store_.sweep();
  EXPECT_TRUE(fs::exists(used.erofs)) << "without a name, but opened just now";
  ASSERT_EQ(::utimensat(AT_FDCWD, (store_.root() / used.digest).c_str(), old, 0), 0);
  store_.sweep();
  EXPECT_FALSE(fs::exists(used.erofs));
}

TEST_F(StoreTest, ABareErofsFileIsAnImageAndSomethingElseIsNot) {
  const fs::path file = scratch_.path() / "root.erofs";
  ASSERT_TRUE(make_erofs(scratch_.path() / "tree", file, Compression::kNone));
  Request request = *request_image(file.string(), "/");
  EXPECT_EQ(ensure_image(store_, request, {.progress = ignore_line})->erofs, file);
  request.path = scratch_.path() / "tree/hello.txt";
  EXPECT_FALSE(ensure_image(store_, request, {.progress = ignore_line}));
}

// ---- what is stored is judged by what it is, not by what the host cannot do just now

// With no descriptor to spare while it lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(next);
    const rlimit none{static_cast<rlim_t>(next), before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

TEST_F(StoreTest, AShortageBuildsNothingAgainAndRemovesNothing) {
  const Image image = build();
  const std::string key = *request_key(directory_request());
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (store_.root() / image.digest).c_str(), old, 0), 0);
  {
    const NoDescriptors now;
    const auto found = store_.lookup("mine", key);
    ASSERT_FALSE(found) << "no verdict";
    EXPECT_NE(found.error().message.find("Too many open files"), std::string::npos);
    EXPECT_FALSE(store_.find("mine"));
    EXPECT_FALSE(store_.names());
    EXPECT_FALSE(store_.remove("mine"));
    EXPECT_FALSE(store_.remove(image.digest));
    store_.sweep();
  }
  const auto found = store_.lookup("mine", key);
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->digest, image.digest);
}

// ---- what somebody else has put there

TEST_F(StoreTest, WhatStandsInAFilesPlaceIsNotFollowedOrWaitedFor) {
  const fs::path canary = scratch_.add("canary", "safe");
  const Image image = build();
  for (const std::string part : {"manifest.json", "rootfs.erofs"}) {
    for (const bool fifo : {false, true}) {
      const fs::path at = store_.root() / image.digest / part;
      fs::rename(at, scratch_.path() / "elsewhere");
      fifo ? (void)::mkfifo(at.c_str(), 0600)
           : fs::create_symlink(scratch_.path() / "elsewhere", at);
      EXPECT_FALSE(store_.find("mine")) << part;
      fs::rename(scratch_.path() / "elsewhere", at);
      EXPECT_TRUE(store_.find("mine"));
    }
  }
  fs::create_directory(store_.root() / "logs");
  fs::create_directory(store_.root() / "locks");
  fs::create_symlink(canary, store_.root() / "logs/mine.log");
  fs::create_symlink(canary, store_.root() / "locks/mine");
  fs::create_symlink(canary, store_.root() / "names/second.json");
  EXPECT_FALSE(store_.lock("mine"));
  EXPECT_TRUE(store_.make_log("mine")) << "in its place";
  EXPECT_TRUE(store_.set_name({"second", image.digest, "x"}));
  EXPECT_EQ(*read_file(canary), "safe");
}

TEST_F(StoreTest, AFolderInItThatLeadsElsewhereIsNotUsed) {
  fs::create_directory(scratch_.path() / "elsewhere");
  for (const char* part : {"names", "tmp", "locks", "logs"}) {
    fs::create_directory_symlink(scratch_.path() / "elsewhere", store_.root() / part);
  }
  EXPECT_FALSE(store_.set_name({"x", std::string(64, 'a'), ""}));
  EXPECT_FALSE(store_.make_build_directory("x"));
  EXPECT_FALSE(store_.lock("x"));
  EXPECT_FALSE(store_.make_log("x"));
  EXPECT_TRUE(fs::is_empty(scratch_.path() / "elsewhere"));
}

TEST(StoreOpenTest, ACacheOfAnotherUserIsRefusedAndSaysWhoseAndWhatToDo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make folders of somebody else";
  for (const char* whose : {"cache", "cache/images"}) {
    const Scratch scratch;
    ASSERT_TRUE(Store::open_at(scratch.path() / "cache"));
    ASSERT_EQ(::chown((scratch.path() / whose).c_str(), 4321, 4321), 0);
    const Result<Store> store = Store::open_at(scratch.path() / "cache");
    ASSERT_FALSE(store);
    EXPECT_NE(store.error().message.find("belongs to user 4321"), std::string::npos);
    EXPECT_TRUE(fs::is_empty(scratch.path() / "cache/images")) << "nothing was made in it";
  }
}

TEST(StoreOpenTest, ACacheThatOthersMayWriteToIsRefusedWithTheMend) {
  for (const char* part : {"cache", "cache/images"}) {
    const Scratch scratch;
    ASSERT_TRUE(Store::open_at(scratch.path() / "cache"));
    for (const mode_t mode : {0777, 01777}) {
      ASSERT_EQ(::chmod((scratch.path() / part).c_str(), mode), 0);
      const Result<Store> store = Store::open_at(scratch.path() / "cache");
      ASSERT_FALSE(store) << part;
      EXPECT_NE(store.error().message.find("chmod go-w"), std::string::npos)
          << store.error().message;
    }
  }
}

TEST(StoreOpenTest, ImagesThatOthersCouldReadAreClosedAndALinkedCacheIsFollowed) {
  const Scratch scratch;
  fs::create_directories(scratch.path() / "cache/images");
  fs::permissions(scratch.path() / "cache/images", fs::perms(0755));
  fs::create_directory_symlink(scratch.path() / "cache", scratch.path() / "link");
  const Result<Store> store = Store::open_at(scratch.path() / "link");
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(fs::status(scratch.path() / "cache/images").permissions(), fs::perms(0700));
}

TEST(StoreOpenTest, ACacheThatCannotBeMadeSaysWhatToDo) {
  const Scratch scratch;
  scratch.add("file");
  const Result<Store> store = Store::open_at(scratch.path() / "file/cache");
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("THIMBLE_CACHE"), std::string::npos);
}

}  // namespace
}  // namespace thimble::image
