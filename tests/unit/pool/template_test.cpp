// Templates on disk: what describes one is read strictly, and the folder of all of them shows whole
// ones only.
#include "pool/template/template.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

namespace thimble {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

TemplateFacts some_facts() {
  TemplateFacts facts;
  facts.point = FreezeRequest::Point::kBeforeExec;
  facts.memory_bytes = 128 << 20;
  facts.vcpus = 2;
  facts.disks = {{"/images/root.erofs", "root"}};
  facts.server.arguments = {"node", "a \"quoted\" word", "\n"};
  facts.server.environment = {"A=b"};
  facts.created = 1763700000;
  return facts;
}

Result<TemplateFacts> parse(const std::string& text) { return template_from_json(text, "here"); }

TEST(TemplateJson, WhatWasWrittenIsRead) {
  const TemplateFacts facts = some_facts();
  const auto read = parse(template_to_json(facts));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->point, facts.point);
  EXPECT_EQ(read->memory_bytes, facts.memory_bytes);
  EXPECT_EQ(read->vcpus, facts.vcpus);
  ASSERT_EQ(read->disks.size(), 1U);
  EXPECT_EQ(read->disks[0].path, "/images/root.erofs");
  EXPECT_EQ(read->server.arguments, facts.server.arguments);
  EXPECT_EQ(read->server.environment, facts.server.environment);
  EXPECT_EQ(read->created, facts.created);
}

TEST(TemplateJson, ANoteIsThereOrNot) {
  TemplateFacts facts = some_facts();
  facts.note = "process 45 (/bin/rnd)";
  EXPECT_EQ(parse(template_to_json(facts))->note, facts.note);
  EXPECT_EQ(parse(template_to_json(some_facts()))->note, "");
  json with = json::parse(template_to_json(facts));
  with["note"] = 5;
  EXPECT_FALSE(parse(with.dump()));
}

TEST(TemplateJson, CutAnywhereItIsRefused) {
  const std::string whole = template_to_json(some_facts());
  for (size_t length = 0; length + 2 < whole.size(); ++length) {
    EXPECT_FALSE(parse(whole.substr(0, length))) << length;
  }
}

TEST(TemplateJson, AMissingOrMistypedMemberIsRefused) {
  const json whole = json::parse(template_to_json(some_facts()));
  for (const auto& [name, value] : whole.items()) {
    json without = whole;
    without.erase(name);
    EXPECT_FALSE(parse(without.dump())) << "without " << name;
    for (const json& wrong : {json(nullptr), json(true), json(-1), json(1.5),
                              json(json::array({1})), json(json::object())}) {
      json with = whole;
      with[name] = wrong;
      EXPECT_FALSE(parse(with.dump())) << name << " = " << wrong.dump();
    }
  }
}

TEST(TemplateJson, AbsurdNumbersAreRefused) {
  const json whole = json::parse(template_to_json(some_facts()));
  for (const char* vcpus : {"0", "9", "4294967297", "18446744073709551617", "1e30"}) {
    json with = whole;
    with["vcpus"] = json::parse(vcpus);
    EXPECT_FALSE(parse(with.dump())) << vcpus;
  }
  json with = whole;
  with["server"]["term_grace_ms"] = uint64_t{1} << 32;
  EXPECT_FALSE(parse(with.dump()));
}

TEST(TemplateJson, ForeignTextIsRefused) {
  EXPECT_FALSE(parse(""));
  EXPECT_FALSE(parse("[]"));
  EXPECT_FALSE(parse(std::string(100000, '[')));
  EXPECT_FALSE(parse(std::string("{\"format\":1}\0", 13)));
  json with = json::parse(template_to_json(some_facts()));
  with["disks"][0]["path"] = std::string("/a\0b", 4);
  EXPECT_FALSE(parse(with.dump()));
  with = json::parse(template_to_json(some_facts()));
  with["format"] = 99;
  const auto newer = parse(with.dump());
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("another version"), std::string::npos);
}

class TemplateStoreTest : public testing::Test {
 protected:
  TemplateStoreTest() {
    std::string pattern = (fs::temp_directory_path() / "thimble-store-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TemplateStoreTest() override { fs::remove_all(folder_); }

  TemplateStore store() const { return *TemplateStore::open(folder_ / "templates"); }
  // Its state file has `content`.
  static void publish(const TemplateStore& store, const std::string& name,
                      const std::string& content) {
    auto staging = store.stage(name);
    ASSERT_TRUE(staging);
    auto files = staging->files();
    ASSERT_TRUE(files);
    ASSERT_EQ(::write(files->state.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    const auto done = staging->publish(some_facts());
    ASSERT_TRUE(done) << done.error().message;
  }
  // As if it had been there for two days.
  static void make_old(const fs::path& file) {
    ASSERT_TRUE(fs::exists(file)) << file;
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(48));
  }
  static std::string state_of(const TemplateStore::Opened& opened) {
    char bytes[64];
    const ssize_t n = ::pread(opened.files.state.get(), bytes, sizeof bytes, 0);
    return {bytes, static_cast<size_t>(n < 0 ? 0 : n)};
  }
  fs::path folder_;
};

TEST_F(TemplateStoreTest, NamesThatLeaveTheFolderAreRefused) {
  const TemplateStore templates = store();
  for (const char* name : {"", ".", "..", "../x", "a/b", "/x", ".hidden", "a b", "a\n", "\xff"}) {
    EXPECT_FALSE(templates.stage(name)) << name;
    EXPECT_FALSE(templates.facts(name)) << name;
    EXPECT_FALSE(templates.remove(name)) << name;
    EXPECT_FALSE(templates.open_template(name)) << name;
  }
  EXPECT_FALSE(templates.stage(std::string(65, 'a')));
  EXPECT_TRUE(templates.stage(std::string(64, 'a')));
}

TEST_F(TemplateStoreTest, AFolderThatOthersCanEnterIsRefused) {
  const fs::path path = folder_ / "open";
  fs::create_directory(path);
  for (const mode_t mode : {0755, 0710, 0701, 0770}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_FALSE(TemplateStore::open(path)) << mode;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  EXPECT_TRUE(TemplateStore::open(path));
  fs::create_directory_symlink(path, folder_ / "link");
  EXPECT_FALSE(TemplateStore::open(folder_ / "link"));
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chown(path.c_str(), 4321, 4321), 0);
  EXPECT_FALSE(TemplateStore::open(path));
}

TEST_F(TemplateStoreTest, AHalfMadeOneIsNeverListedAndGoesWithItsStaging) {
  const TemplateStore templates = store();
  {
    auto staging = templates.stage("half");
    ASSERT_TRUE(staging && staging->files());
    EXPECT_TRUE(templates.names().empty());
    EXPECT_FALSE(templates.open_template("half"));
  }
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, FilesAreForTheirOwnerAlone) {
  const TemplateStore templates = store();
  publish(templates, "mine", "one");
  for (const char* part : {"state", "memory", "template"}) {
    struct stat status{};
    ASSERT_EQ(::stat((templates.path_of("mine") / part).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 077, 0U) << part;
  }
  EXPECT_EQ(templates.names(), std::vector<std::string>{"mine"});
}

TEST_F(TemplateStoreTest, OneThatIsReplacedOrRemovedStaysForWhoHasItOpen) {
  const TemplateStore templates = store();
  publish(templates, "it", "one");
  const auto first = templates.open_template("it");
  ASSERT_TRUE(first) << first.error().message;
  publish(templates, "it", "two");
  const auto second = templates.open_template("it");
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(templates.remove("it"));
  EXPECT_EQ(state_of(*first), "one");
  EXPECT_EQ(state_of(*second), "two");
  EXPECT_FALSE(templates.open_template("it"));
  const auto again = templates.remove("it");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().message, "there is no template it");
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, OneMakesATemplateAtATimeAndItsLockLeavesNoFile) {
  const TemplateStore templates = store();
  {
    const auto lock = templates.lock("it");
    ASSERT_TRUE(lock && *lock);
    const auto second = templates.lock("it");
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_FALSE(*second);
    const auto other = templates.lock("other");
    EXPECT_TRUE(other && *other);
  }
  EXPECT_TRUE(fs::is_empty(templates.folder()));
  const auto again = templates.lock("it");
  EXPECT_TRUE(again && *again);
}

// Its file comes and goes with its holders; there is never more than one of them.
TEST_F(TemplateStoreTest, OneHoldsALockThatManyTakeAndGiveBack) {
  const TemplateStore templates = store();
  std::atomic<int> holders = 0;
  std::atomic<int> together = 0;
  std::atomic<int> held = 0;
  std::vector<std::jthread> makers;
  for (int maker = 0; maker < 4; ++maker) {
    makers.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        const auto lock = templates.lock("it");
        if (!lock || !*lock) continue;
        ++held;
        if (++holders > 1) ++together;
        std::this_thread::yield();
        --holders;
      }
    });
  }
  makers.clear();
  EXPECT_EQ(together, 0);
  EXPECT_GT(held, 0);
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, ALockThatWasLeftIsTakenOrGoesWhenItIsOld) {
  const TemplateStore templates = store();
  const fs::path left = templates.folder() / ".lock-left";
  std::ofstream(left).flush();
  {
    const auto lock = templates.lock("left");
    ASSERT_TRUE(lock && *lock);
    make_old(left);
    templates.sweep();
    EXPECT_TRUE(fs::exists(left)) << "it is held";
  }
  std::ofstream(left).flush();
  templates.sweep();
  EXPECT_TRUE(fs::exists(left)) << "it may be about to be held";
  make_old(left);
  templates.sweep();
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, AFailureIsNotedForAWhile) {
  const TemplateStore templates = store();
  const fs::path note = templates.folder() / ".failed-it";
  templates.note_failure("it", "it ended");
  templates.sweep();
  EXPECT_EQ(templates.failure("it"), "it ended");
  EXPECT_EQ(templates.failures(), std::vector<std::string>{"it"});
  make_old(note);
  EXPECT_EQ(templates.failure("it"), std::nullopt);
  EXPECT_TRUE(templates.failures().empty());
  templates.sweep();
  EXPECT_TRUE(fs::is_empty(templates.folder()));
  templates.note_failure("it", "it ended");
  templates.sweep(std::chrono::seconds(0));
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, ARefusalIsNotedForLong) {
  const TemplateStore templates = store();
  templates.note_refusal("it", "a child");
  make_old(templates.folder() / ".refused-it");
  templates.sweep();
  EXPECT_EQ(templates.failure("it"), "a child");
  templates.note_failure("it", "it ended");
  EXPECT_EQ(templates.failures(), std::vector<std::string>{"it"});
  EXPECT_EQ(templates.failure("it"), "a child");
  templates.sweep(std::chrono::seconds(0));
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

// Each staging sweeps: none takes another's folder away, held or about to be.
TEST_F(TemplateStoreTest, ManyAreStagedAtOnce) {
  const TemplateStore templates = store();
  std::atomic<unsigned> lost = 0;
  std::vector<std::jthread> makers;
  for (int maker = 0; maker < 4; ++maker) {
    makers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        auto staging = templates.stage("it");
        if (!staging || !staging->files()) ++lost;
      }
    });
  }
  makers.clear();
  EXPECT_EQ(lost, 0U);
  EXPECT_TRUE(fs::is_empty(templates.folder()));
}

TEST_F(TemplateStoreTest, AMemoryFileThatWasTouchedIsVerifiedAgain) {
  const TemplateStore templates = store();
  publish(templates, "it", "no snapshot");
  ASSERT_TRUE(templates.open_template("it"));
  const fs::path memory = templates.path_of("it") / "memory";
  fs::permissions(memory, fs::perms::owner_write, fs::perm_options::add);
  std::ofstream(memory) << "x";
  EXPECT_FALSE(templates.open_template("it"));
}

TEST_F(TemplateStoreTest, ALinkInPlaceOfAFileIsNotFollowed) {
  const TemplateStore templates = store();
  publish(templates, "it", "one");
  const fs::path state = templates.path_of("it") / "state";
  fs::rename(state, folder_ / "elsewhere");
  fs::create_symlink(folder_ / "elsewhere", state);
  EXPECT_FALSE(templates.open_template("it"));
}

// Only what is damaged is worth making anew: a shortage says nothing about it.
TEST_F(TemplateStoreTest, OneThatCannotBeOpenedJustNowIsNotDamaged) {
  const TemplateStore templates = store();
  publish(templates, "it", "one");
  const Fd highest(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // At each number of descriptors that are left: the folder, the facts, the state, the memory.
  for (rlim_t left = 0; left < 4; ++left) {
    const rlimit few{static_cast<rlim_t>(highest.get()) + left, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    const auto opened = templates.open_template("it");
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    if (opened) break;
    EXPECT_EQ(opened.error().kind, FileFault::Kind::kPassing) << opened.error().message;
    EXPECT_NE(opened.error().message.find("Too many open files"), std::string::npos);
  }
  EXPECT_TRUE(templates.open_template("it"));
}

TEST_F(TemplateStoreTest, WhatIsMissingOrDamagedIsTold) {
  const TemplateStore templates = store();
  EXPECT_EQ(templates.open_template("none").error().kind, FileFault::Kind::kMissing);
  for (const char* part : {"memory", "template"}) {
    publish(templates, "it", "one");
    const fs::path file = templates.path_of("it") / part;
    fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    std::ofstream(file) << "x";
    EXPECT_EQ(templates.open_template("it").error().kind, FileFault::Kind::kUnsound) << part;
  }
}

// In the place of each file, and of the whole.
TEST_F(TemplateStoreTest, WhatHasTakenAPlaceIsNoTemplateAndIsReplacedByOne) {
  const TemplateStore templates = store();
  const fs::path canary = folder_ / "canary";
  std::ofstream(canary) << "safe";
  const auto put = [&](const fs::path& at, int how) {
    fs::remove_all(at);
    if (how == 0) ::mkfifo(at.c_str(), 0600);
    if (how == 1) fs::create_symlink(canary, at);
    if (how == 2) fs::create_directory(at);
  };
  for (int how = 0; how < 3; ++how) {
    for (const char* part : {"state", "memory", "template"}) {
      publish(templates, "it", "one");
      put(templates.path_of("it") / part, how);
      EXPECT_EQ(templates.open_template("it").error().kind, FileFault::Kind::kUnsound) << part;
    }
    publish(templates, "it", "one");
    put(templates.path_of("it") / "working", how);
    const auto without = templates.open_template("it");
    ASSERT_TRUE(without) << without.error().message;
    EXPECT_FALSE(without->files.working_set);
    if (how == 2) continue;
    put(templates.path_of("it"), how);
    EXPECT_EQ(templates.open_template("it").error().kind, FileFault::Kind::kUnsound);
    publish(templates, "it", "two");
    EXPECT_EQ(state_of(*templates.open_template("it")), "two");
  }
  EXPECT_EQ(fs::file_size(canary), 4U);
}

TEST_F(TemplateStoreTest, NotesAndLocksThatLeadElsewhereAreNotFollowed) {
  const TemplateStore templates = store();
  const fs::path canary = folder_ / "canary";
  std::ofstream(canary) << "safe";
  for (const char* name : {".failed-it", ".lock-it"}) {
    fs::create_symlink(canary, templates.folder() / name);
  }
  EXPECT_FALSE(templates.lock("it"));
  EXPECT_EQ(templates.failure("it"), "");
  templates.note_failure("it", "it ended");
  EXPECT_EQ(templates.failure("it"), "it ended");
  publish(templates, "it", "one");
  fs::create_symlink(canary,
                     templates.path_of("it") / ("working." + std::to_string(::getpid()) + ".new"));
  const auto opened = templates.open_template("it");
  const std::vector<uint8_t> set(100, 'x');
  EXPECT_TRUE(TemplateStore::keep_working_set(*opened, set));
  EXPECT_EQ(fs::file_size(canary), 4U);
}

TEST_F(TemplateStoreTest, ATemplateOfAnotherUserIsNone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make files of somebody else";
  const TemplateStore templates = store();
  for (const char* part : {"", "state", "memory", "template"}) {
    publish(templates, "it", "one");
    ASSERT_EQ(::chown((templates.path_of("it") / part).c_str(), 4321, 4321), 0);
    const auto opened = templates.open_template("it");
    ASSERT_FALSE(opened) << part;
    EXPECT_NE(opened.error().message.find("belongs to user 4321"), std::string::npos)
        << opened.error().message;
    ASSERT_TRUE(templates.remove("it"));
  }
}

}  // namespace
}  // namespace thimble
