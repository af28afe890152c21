// Command lines of npx and npm exec.
#include "pool/image/command/npx.h"

#include <gtest/gtest.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

using Words = std::vector<std::string>;

NpxCall parsed(const Words& words, NpxForm form) {
  Result<NpxCall> call = parse_npx(words, form);
  EXPECT_TRUE(call) << call.error().message;
  return call ? *call : NpxCall{};
}

TEST(NpxTest, NpxPassesEverythingAfterThePackage) {
  const NpxCall call = parsed({"-y", "pkg", "--", "a", "-y", "--x"}, NpxForm::kNpx);
  EXPECT_EQ(call.package, "pkg");
  EXPECT_EQ(call.arguments, (Words{"--", "a", "-y", "--x"}));
  EXPECT_EQ(parsed({"--", "pkg", "--", "a"}, NpxForm::kNpx).arguments, (Words{"--", "a"}));
}

TEST(NpxTest, NpmKeepsTheFirstDashesForItself) {
  const struct {
    Words words;
    Words arguments;
  } cases[] = {
      {{"pkg", "--", "--x", "1"}, {"--x", "1"}},
      {{"pkg", "a", "--", "b"}, {"a", "b"}},
      {{"-y", "--", "pkg", "a", "--", "b"}, {"a", "--", "b"}},
      {{"pkg", "-y", "a"}, {"a"}},
      {{"pkg", "--loglevel", "error", "a"}, {"a"}},
  };
  for (const auto& c : cases) {
    const NpxCall call = parsed(c.words, NpxForm::kNpmExec);
    EXPECT_EQ(call.package, "pkg");
    EXPECT_EQ(call.arguments, c.arguments);
  }
  const Result<NpxCall> late = parse_npx({"pkg", "--port", "1"}, NpxForm::kNpmExec);
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("write -- before the options of pkg"), std::string::npos);
}

TEST(NpxTest, TakesWhatPeopleHaveInTheirConfigs) {
  for (const Words& words :
       {Words{"--yes=true", "pkg"}, Words{"--yes", "pkg"}, Words{"--loglevel=silent", "pkg"},
        Words{"--loglevel", "silent", "-y", "pkg"}, Words{"--no-audit", "--no-fund", "pkg"},
        Words{"--cache", "/tmp/x", "pkg"}, Words{"--quiet", "-d", "pkg"},
        Words{"--prefer-offline", "--offline=true", "pkg"}}) {
    const NpxCall call = parsed(words, NpxForm::kNpx);
    EXPECT_EQ(call.package, "pkg") << words[0];
    EXPECT_FALSE(call.local_only) << words[0];
    EXPECT_FALSE(call.resolve_now) << words[0];
  }
  EXPECT_TRUE(parsed({"--no-install", "pkg"}, NpxForm::kNpx).local_only);
  EXPECT_TRUE(parsed({"--no", "pkg"}, NpxForm::kNpmExec).local_only);
  EXPECT_TRUE(parsed({"--yes=false", "pkg"}, NpxForm::kNpx).local_only);
  EXPECT_TRUE(parsed({"--prefer-online", "pkg"}, NpxForm::kNpx).resolve_now);
}

TEST(NpxTest, ACallThatIsPlainWordsIsTaken) {
  const NpxCall call = parsed({"-p", "pkg@1", "-c", "tool  --x a"}, NpxForm::kNpx);
  EXPECT_EQ(call.package, "pkg@1");
  EXPECT_EQ(call.command, "tool");
  EXPECT_EQ(call.arguments, (Words{"--x", "a"}));
  for (const char* line : {"tool | cat", "tool $HOME", "a; b", "tool \"a b\"", "x > y", "a && b"}) {
    EXPECT_FALSE(parse_npx({"-p", "pkg", "-c", line}, NpxForm::kNpx)) << line;
  }
}

TEST(NpxTest, RefusesInOneLine) {
  for (const Words& words : {Words{}, Words{"-y"}, Words{"-p"}, Words{"-c"}, Words{"--loglevel"},
                             Words{"-p", "a", "-p", "b", "c"}, Words{"--registry=http://x", "a"},
                             Words{"--unknown", "a"}}) {
    const Result<NpxCall> call = parse_npx(words, NpxForm::kNpx);
    ASSERT_FALSE(call);
    EXPECT_EQ(call.error().message.find('\n'), std::string::npos);
  }
}

TEST(NpxTest, TheProjectsOwnCommandComesFirst) {
  const Scratch scratch;
  scratch.add("p/package.json", "{}");
  scratch.add("p/node_modules/.bin/tool");
  scratch.add("p/node_modules/@s/srv/package.json", R"({"bin":{"srv":"dist/i.js","b":"b.js"}})");
  scratch.add("p/node_modules/@s/srv/dist/i.js");
  scratch.add("p/node_modules/evil/package.json", R"({"bin":"../../../outside.js"})");
  scratch.add("outside.js");
  scratch.add("p/src/x");
  const auto modules = scratch.path() / "p/node_modules";
  const auto below = scratch.path() / "p/src";
  EXPECT_EQ(local_command("tool", below), modules / ".bin/tool");
  EXPECT_EQ(local_command("@s/srv", below), modules / "@s/srv/dist/i.js");
  for (const char* name : {"tool@1", "tool@latest", "@s/srv@2", "other", "evil", "../outside.js",
                           "./tool", "", ".", "..", "@s", "a/b", "git:x"}) {
    EXPECT_EQ(local_command(name, below), "") << name;
  }
  EXPECT_EQ(local_command("tool", scratch.path()), "");
}

}  // namespace
}  // namespace thimble::image
