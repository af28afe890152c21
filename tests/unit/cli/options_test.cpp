// Where thimble's options end and the user's command begins.
#include "tools/cli/options.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tools/cli/run_options.h"
#include "tools/cli/terminal.h"

namespace thimble::cli {
namespace {

RunOptions parsed(const Arguments& arguments) {
  auto result = parse_run(arguments);
  auto* options = std::get_if<RunOptions>(&result);
  EXPECT_NE(options, nullptr) << (arguments.empty() ? "" : arguments.front());
  return options != nullptr ? std::move(*options) : RunOptions{};
}

int refused(const Arguments& arguments) {
  auto result = parse_run(arguments);
  const int* status = std::get_if<int>(&result);
  return status != nullptr ? *status : -1;
}

TEST(RunOptions, WhatFollowsTheCommandIsTheCommands) {
  const Arguments command{"node", "--memory", "1", "--", "-x", "[1,2]", "", "{}", "--help", "%%"};
  Arguments with_dashes{"--memory", "1G", "--"};
  with_dashes.insert(with_dashes.end(), command.begin(), command.end());
  EXPECT_EQ(parsed(with_dashes).command, command);
  EXPECT_EQ(parsed(with_dashes).memory_bytes, 1ULL << 30);
  Arguments without{"--memory=1G"};
  without.insert(without.end(), command.begin(), command.end());
  EXPECT_EQ(parsed(without).command, command);
}

TEST(RunOptions, ACommandMayLookLikeAnOptionAfterTheDashes) {
  EXPECT_EQ(parsed({"--", "--version"}).command, (Arguments{"--version"}));
  EXPECT_EQ(parsed({"--", "--", "x"}).command, (Arguments{"--", "x"}));
}

TEST(RunOptions, EveryEnvTakesOneValue) {
  const auto options =
      parsed({"--env", "A=1", "-e", "B", "-eC=[x,y]", "--env=D=a=b", "cmd", "-e", "E"});
  EXPECT_EQ(options.env, (Arguments{"A=1", "B", "C=[x,y]", "D=a=b"}));
  EXPECT_EQ(options.command, (Arguments{"cmd", "-e", "E"}));
}

TEST(Options, MistakesAreSaidInOurWords) {
  const auto said = [](const Arguments& words) {
    uint32_t number = 0;
    std::string word;
    Options declared("thimble x");
    declared.add("--number", number, "");
    declared.add("WORD", word, "").required();
    testing::internal::CaptureStderr();
    EXPECT_EQ(declared.parse(words), kExitUsage);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said({}), "thimble: WORD is missing (see thimble x --help)\n");
  EXPECT_EQ(said({"a", "--number", "many"}),
            "thimble: --number = many: this is no value for it (see thimble x --help)\n");
  EXPECT_EQ(said({"a", "--number"}),
            "thimble: --number: it needs another number of values (see thimble x --help)\n");
}

TEST(Options, AnEarlierNameGoesOnWithANote) {
  for (const Arguments& words : {Arguments{"--old=7"}, Arguments{"--old", "7"}}) {
    uint32_t number = 0;
    Options declared("thimble x");
    declared.add("--new", number, "");
    declared.add_earlier("--old", "--new");
    testing::internal::CaptureStderr();
    EXPECT_EQ(declared.parse(words), std::nullopt);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "thimble: --old is called --new now\n");
    EXPECT_EQ(number, 7U);
  }
}

TEST(RunOptions, MistakesEndWithAUsageStatus) {
  EXPECT_EQ(refused({"--nonsense", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--memory", "lots", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--memory"}), kExitUsage);
  EXPECT_EQ(refused({"--vcpus", "0", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--timeout", "0", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--timeout", "soon", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--stdin-grace", "soon", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--workdir", "here", "--", "cmd"}), kExitUsage);
  EXPECT_EQ(refused({"--template", "t", "--memory", "1G"}), kExitUsage) << "it has its own";
  EXPECT_EQ(refused({"--template", "t", "--vcpus", "2"}), kExitUsage);
  EXPECT_EQ(refused({}), kExitUsage) << "no command and no image";
  EXPECT_EQ(refused({"--"}), kExitUsage);
}

TEST(RunOptions, AnImageMayBringItsOwnCommand) {
  EXPECT_TRUE(parsed({"--image", "node"}).command.empty());
}

TEST(RunOptions, TheStdinGraceIsOffOnlyByItsWord) {
  EXPECT_EQ(parsed({"x"}).stdin_grace, std::nullopt);
  EXPECT_EQ(parsed({"--stdin-grace", "never", "x"}).stdin_grace, std::chrono::milliseconds(0));
  EXPECT_GT(*parsed({"--stdin-grace", "0", "x"}).stdin_grace, std::chrono::milliseconds(0));
}

std::string filtered(EscapeFilter& filter, std::string typed) {
  typed.resize(filter.filter(typed.data(), typed.size()));
  return typed;
}

TEST(EscapeFilter, CtrlAThenXQuitsAlsoInTwoPieces) {
  EscapeFilter filter;
  EXPECT_EQ(filtered(filter, "ls\n\001"), "ls\n");
  EXPECT_FALSE(filter.quit());
  EXPECT_EQ(filtered(filter, "xrest"), "");
  EXPECT_TRUE(filter.quit());
}

TEST(EscapeFilter, AnXAloneAndADoubledCtrlAGoThrough) {
  EscapeFilter filter;
  EXPECT_EQ(filtered(filter, "x\001\001x"), "x\001x");
  EXPECT_FALSE(filter.quit());
}

}  // namespace
}  // namespace thimble::cli
