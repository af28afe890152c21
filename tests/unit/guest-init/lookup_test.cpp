// Parsers over the command line, passwd, group, PATH and memory.events.
#include "guest-init/lookup.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "guest-init/cgroup.h"

namespace thimble::init {
namespace {

Bytes bytes(const std::string& text) { return {text.data(), text.size()}; }

std::string option(const std::string& line, const char* key) {
  char value[16];
  return find_option(bytes(line), key, value, sizeof value) ? value : "(none)";
}

TEST(CommandLine, FindsAWordByItsKey) {
  EXPECT_EQ(option("console=ttyS0 thimble.root=/dev/vda quiet\n", "thimble.root"), "/dev/vda");
  EXPECT_EQ(option("thimble.root=/dev/vda", "thimble.root"), "/dev/vda");
}

TEST(CommandLine, TheLastOfSeveralWins) { EXPECT_EQ(option("root=a root=b", "root"), "b"); }

TEST(CommandLine, APartOfAWordIsNoKey) {
  EXPECT_EQ(option("xthimble.root=/dev/vda thimble.rooty=1 thimble.root", "thimble.root"),
            "(none)");
  EXPECT_EQ(option("", "thimble.root"), "(none)");
}

TEST(CommandLine, AValueThatDoesNotFitIsAsGoodAsNone) {
  EXPECT_EQ(option("root=123456789012345", "root"), "123456789012345");
  EXPECT_EQ(option("root=1234567890123456", "root"), "(none)");
}

TEST(Id, TakesOnlyPlainNumbersThatAreIds) {
  uint32_t id = 0;
  EXPECT_TRUE(parse_id(bytes("0"), id));
  EXPECT_TRUE(parse_id(bytes("4294967294"), id));
  EXPECT_EQ(id, 4294967294u);
  EXPECT_FALSE(parse_id(bytes("4294967295"), id));  // means "no change" to setuid
  EXPECT_FALSE(parse_id(bytes("4294967296"), id));
  EXPECT_FALSE(parse_id(bytes("99999999999"), id));
  EXPECT_FALSE(parse_id(bytes(""), id));
  EXPECT_FALSE(parse_id(bytes("-1"), id));
  EXPECT_FALSE(parse_id(bytes("+1"), id));
  EXPECT_FALSE(parse_id(bytes("1 "), id));
}

struct Resolved {
  UserLookup result;
  uint32_t uid;
  uint32_t gid;
  std::string name;
  std::string home;
};

const std::string kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "broken line\n"
    "bad:x:notanumber:5::/:/\n"
    "node:x:1000:1001::/home/node:/bin/sh\n"
    "last:x:7:8";
const std::string kGroup = "root:x:0:\nstaff:x:50:node\nbroken\n";

Resolved resolve(const std::string& spec) {
  UserEntry user;
  const UserLookup result = resolve_user(bytes(spec), bytes(kPasswd), bytes(kGroup), user);
  return {result, user.uid, user.gid, std::string(user.name.data, user.name.size),
          std::string(user.home.data, user.home.size)};
}

TEST(User, IsFoundByNameWithItsPrimaryGroup) {
  EXPECT_EQ(resolve("node").result, UserLookup::kFound);
  EXPECT_EQ(resolve("node").uid, 1000u);
  EXPECT_EQ(resolve("node").gid, 1001u);
  EXPECT_EQ(resolve("last").gid, 8u);
}

TEST(User, ANumberNeedsNoEntryButUsesIt) {
  EXPECT_EQ(resolve("1000").gid, 1001u);
  EXPECT_EQ(resolve("4242").result, UserLookup::kFound);
  EXPECT_EQ(resolve("4242").uid, 4242u);
  EXPECT_EQ(resolve("4242").gid, 0u);
}

TEST(User, BringsNameAndHomeOfItsEntry) {
  EXPECT_EQ(resolve("node").home, "/home/node");
  EXPECT_EQ(resolve("1000").name, "node");
  EXPECT_EQ(resolve("last").home, "");
  EXPECT_EQ(resolve("4242").name, "");
  EXPECT_EQ(resolve("4242").home, "");
}

std::vector<uint32_t> memberships(const std::string& group, const std::string& user,
                                  size_t capacity = 8) {
  std::vector<uint32_t> gids(capacity);
  gids.resize(find_memberships(bytes(group), bytes(user), 50, gids.data(), capacity));
  return gids;
}

TEST(Groups, AreThoseThatListTheUserButThePrimaryOne) {
  const std::string groups =
      "wheel:x:10:root,node\nstaff:x:50:node\nbroken\nbad:x:x:node\nempty:x:11:\n"
      "nodes:x:12:nodes,nod,xnode\naudio:x:29:node";
  EXPECT_EQ(memberships(groups, "node"), (std::vector<uint32_t>{10, 29}));
  EXPECT_EQ(memberships(groups, "node", 1), std::vector<uint32_t>{10});
  EXPECT_TRUE(memberships(groups, "nobody").empty());
  EXPECT_TRUE(memberships("", "node").empty());
}

TEST(User, AGroupOverridesThePrimaryOne) {
  EXPECT_EQ(resolve("node:staff").gid, 50u);
  EXPECT_EQ(resolve("node:77").gid, 77u);
  EXPECT_EQ(resolve("5:6").uid, 5u);
  EXPECT_EQ(resolve("5:6").gid, 6u);
}

TEST(User, UnknownNamesAreToldApart) {
  EXPECT_EQ(resolve("nobody").result, UserLookup::kNoUser);
  EXPECT_EQ(resolve("bad").result, UserLookup::kNoUser);
  EXPECT_EQ(resolve("").result, UserLookup::kNoUser);
  EXPECT_EQ(resolve(":staff").result, UserLookup::kNoUser);
  EXPECT_EQ(resolve("node:nope").result, UserLookup::kNoGroup);
  EXPECT_EQ(resolve("node:").result, UserLookup::kNoGroup);
}

std::vector<std::string> candidates(const char* command, const char* path, size_t capacity = 64) {
  std::vector<std::string> found;
  CommandSearch search(command, path);
  std::string buffer(capacity, '\0');
  while (search.next(buffer.data(), capacity)) found.emplace_back(buffer.c_str());
  return found;
}

using Names = std::vector<std::string>;

TEST(CommandSearch, TriesEveryDirectoryInOrder) {
  EXPECT_EQ(candidates("sh", "/usr/bin:/bin"), (Names{"/usr/bin/sh", "/bin/sh"}));
}

TEST(CommandSearch, ACommandWithASlashIsNotSearched) {
  EXPECT_EQ(candidates("./run", "/bin:/usr/bin"), Names{"./run"});
  EXPECT_EQ(candidates("/bin/sh", ""), Names{"/bin/sh"});
}

TEST(CommandSearch, AnEmptyDirectoryIsTheWorkingDirectory) {
  EXPECT_EQ(candidates("sh", ":/bin:"), (Names{"sh", "/bin/sh", "sh"}));
  EXPECT_EQ(candidates("sh", ""), Names{"sh"});
}

TEST(CommandSearch, WithoutPathUsesTheDefaultOne) {
  EXPECT_EQ(candidates("sh", nullptr).size(), 6u);
  EXPECT_EQ(candidates("sh", nullptr).back(), "/bin/sh");
}

TEST(CommandSearch, AnEmptyCommandIsNowhere) { EXPECT_TRUE(candidates("", "/bin").empty()); }

TEST(CommandSearch, SkipsWhatDoesNotFit) {
  EXPECT_EQ(candidates("sh", "/much/too/long:/bin", 8), Names{"/bin/sh"});
  EXPECT_TRUE(candidates("sh", "/bin", 7).empty());
}

TEST(Environment, FindsAVariableByItsWholeName) {
  char path[] = "PATH=/bin";
  char longer[] = "PATHS=/no";
  char* const environment[] = {longer, path, nullptr};
  EXPECT_STREQ(find_variable(environment, "PATH"), "/bin");
  EXPECT_EQ(find_variable(environment, "PAT"), nullptr);
}

TEST(OomKills, AreReadFromTheirOwnLine) {
  EXPECT_EQ(parse_counter(bytes("low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 1\n"),
                          "oom_kill"),
            2u);
  EXPECT_EQ(parse_counter(bytes("oom_kill 7"), "oom_kill"), 7u);
  EXPECT_EQ(parse_counter(bytes("not_oom_kill 7\n"), "oom_kill"), 0u);
  EXPECT_EQ(parse_counter(bytes("oom_kill x\n"), "oom_kill"), 0u);
  EXPECT_EQ(parse_counter(bytes("oom_kill"), "oom_kill"), 0u);
  EXPECT_EQ(parse_counter({}, "oom_kill"), 0u);
}

}  // namespace
}  // namespace thimble::init
