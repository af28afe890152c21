// Which variables --env and --env-file give to a command.
#include "pool/launch/environment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tools/cli/run_options.h"

namespace thimble::cli {
namespace {

using Words = std::vector<std::string>;

TEST(Environment, OnlyNamedVariablesCross) {
  ::setenv("THIMBLE_TEST_NAMED", "value", 1);
  ::setenv("THIMBLE_TEST_SECRET", "secret", 1);
  std::map<std::string, std::string> environment{{"PATH", "/bin"}};
  auto missing = launch::add_environment(
      {"THIMBLE_TEST_NAMED", "K=", "PATH=/x", "THIMBLE_TEST_NONE"}, environment);
  ASSERT_TRUE(missing);
  EXPECT_EQ(*missing, (std::vector<std::string>{"THIMBLE_TEST_NONE"}));
  const std::map<std::string, std::string> expected{
      {"PATH", "/x:/bin"}, {"K", ""}, {"THIMBLE_TEST_NAMED", "value"}};
  EXPECT_EQ(environment, expected);
}

TEST(Environment, AVariableWithoutANameIsRefused) {
  std::map<std::string, std::string> environment;
  EXPECT_FALSE(launch::add_environment({"=value"}, environment));
  EXPECT_FALSE(launch::add_environment({""}, environment));
}

TEST(Environment, NamesAreNames) {
  for (const char* good : {"A", "_a1=", "npm_config_x=1", "NOTION_*", "A.b-c=", "?X"}) {
    EXPECT_TRUE(launch::check_environment({"OTHER", good})) << good;
  }
  for (const char* bad : {"", "=x", "1A", "A B=c", "A\x1b[2J=x", "A\n", "A*=x", "ä=1"}) {
    const auto checked = launch::check_environment({"OTHER", bad});
    ASSERT_FALSE(checked) << bad;
    EXPECT_NE(checked.error().message.find("number 2"), std::string::npos);
    EXPECT_TRUE(std::holds_alternative<int>(parse_run({"--env", bad, "--", "x"}))) << bad;
  }
}

TEST(Environment, WhatACloneNeedsIsAddedToNotReplaced) {
  std::map<std::string, std::string> environment = {
      {"NODE_OPTIONS", "--require=/r.cjs"}, {"LD_PRELOAD", "/r.so"}, {"OTHER", "old"}};
  ASSERT_TRUE(launch::add_environment(
      {"NODE_OPTIONS=--trace-gc", "LD_PRELOAD=/mine.so", "OTHER=new"}, environment));
  EXPECT_EQ(environment["NODE_OPTIONS"], "--require=/r.cjs --trace-gc");
  EXPECT_EQ(environment["LD_PRELOAD"], "/r.so:/mine.so");
  EXPECT_EQ(environment["OTHER"], "new");
}

TEST(Environment, ThePathOfTheImageStaysBehindTheUsers) {
  std::map<std::string, std::string> environment = {{"PATH", "/usr/bin:/bin"}};
  ASSERT_TRUE(launch::add_environment({"PATH=/opt/tools"}, environment));
  EXPECT_EQ(environment["PATH"], "/opt/tools:/usr/bin:/bin");
  ASSERT_TRUE(launch::add_environment({"PATH="}, environment));
  EXPECT_EQ(environment["PATH"], "/opt/tools:/usr/bin:/bin");
}

TEST(Environment, APatternStandsForAllThatAreSet) {
  ::setenv("THIMBLE_TEST_A_ONE", "1", 1);
  ::setenv("THIMBLE_TEST_A_TWO", "a=b", 1);
  ::setenv("THIMBLE_TEST_B", "no", 1);
  std::map<std::string, std::string> environment;
  auto missing = launch::add_environment({"THIMBLE_TEST_A_*", "THIMBLE_NONE_*"}, environment);
  ASSERT_TRUE(missing);
  EXPECT_EQ(*missing, Words{"THIMBLE_NONE_*"});
  const std::map<std::string, std::string> expected{{"THIMBLE_TEST_A_ONE", "1"},
                                                    {"THIMBLE_TEST_A_TWO", "a=b"}};
  EXPECT_EQ(environment, expected);
}

class EnvFile : public testing::Test {
 protected:
  ~EnvFile() override { ::unlink(name_.c_str()); }

  Result<Words> read(const std::string& text) {
    std::ofstream(name_) << text;
    return launch::read_env_file(name_);
  }

  std::string name_ = testing::TempDir() + "thimble-env-" + std::to_string(::getpid());
};

TEST_F(EnvFile, HasAVariableInEachLine) {
  const auto variables = read(
      "# keys\n\nKEY=value\r\n  SPACED = a b \nexport SHELL_STYLE='quoted # text'\n"
      "EMPTY=\nURL=\"http://x/?a=b\"\nFROM_HERE\nNOTION_*\nODD='x\n");
  ASSERT_TRUE(variables) << variables.error().message;
  EXPECT_EQ(*variables, (Words{"KEY=value", "SPACED=a b", "SHELL_STYLE=quoted # text",
                               "EMPTY=", "URL=http://x/?a=b", "FROM_HERE", "NOTION_*", "ODD='x"}));
}

TEST_F(EnvFile, ErrorsNameTheLineAndNeverItsText) {
  for (const char* text : {"A=1\nsecret value\n", "A=1\n=secret\n", "A=1\n{\"secret\": 1}\n"}) {
    const auto variables = read(text);
    ASSERT_FALSE(variables) << text;
    EXPECT_NE(variables.error().message.find(":2: "), std::string::npos);
    EXPECT_EQ(variables.error().message.find("secret"), std::string::npos);
  }
  EXPECT_FALSE(launch::read_env_file("/no/such/file"));
  EXPECT_FALSE(launch::read_env_file("/"));
}

TEST_F(EnvFile, WhatIsNamedOnTheCommandLineCounts) {
  ASSERT_TRUE(read("KEY=file\nOTHER=file\n"));
  auto result = parse_run({"--env", "KEY=word", "--env-file", name_, "--", "x"});
  auto* options = std::get_if<RunOptions>(&result);
  ASSERT_NE(options, nullptr);
  std::map<std::string, std::string> environment;
  ASSERT_TRUE(launch::add_environment(options->env, environment));
  EXPECT_EQ(environment["KEY"], "word");
  EXPECT_EQ(environment["OTHER"], "file");
}

}  // namespace
}  // namespace thimble::cli
