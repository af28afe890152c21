// What npm and packages leave on disk, read as hostile input.
#include "tools/image/npm.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

TEST(NpmLockTest, RecordsVersionAndIntegrityOfEveryPackage) {
  nlohmann::json inputs;
  InstalledPackage installed;
  const Result<void> done = record_lock(
      R"({"packages":{"":{},"node_modules/a":{"version":"1.0.0","integrity":"sha512-x"},
          "node_modules/a/node_modules/b":{"version":"2.0.0","inBundle":true}}})",
      inputs, installed);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(installed.packages, 2U);
  EXPECT_EQ(inputs["npm"]["node_modules/a"]["integrity"], "sha512-x");
  EXPECT_FALSE(installed.runs_scripts);
}

// The lock file of an application with this one package.
Result<void> lock_of(const std::string& place, const std::string& entry) {
  nlohmann::json inputs;
  InstalledPackage installed;
  return record_lock(R"({"packages":{"":{},")" + place + "\":" + entry + "}}", inputs, installed);
}

TEST(NpmLockTest, APackageThatIsNotFromTheRegistryIsRefused) {
  const std::string hash = R"("version":"1.0.0","integrity":"sha512-x")";
  ASSERT_TRUE(lock_of("node_modules/a", "{" + hash + "}"));
  const std::pair<const char*, std::string> foreign[] = {
      {"node_modules/a", R"({"version":"1.0.0","resolved":"git+ssh://git@h/a#1"})"},
      {"node_modules/a", "{" + hash + R"(,"resolved":"https://h/a.tgz"})"},
      {"node_modules/a/node_modules/b", "{" + hash + R"(,"resolved":"http://127.0.0.1/b.tgz"})"},
      {"node_modules/a", "{" + hash + R"(,"resolved":"file:../a.tgz"})"},
      {"node_modules/a", "{" + hash + R"(,"resolved":7})"},
      {"node_modules/a", R"({"link":true,"resolved":"../../etc"})"},
      {"node_modules/a", R"({"version":"1.0.0"})"},
      {"../../etc", "{" + hash + "}"},
      {"/etc", "{" + hash + "}"},
      {"node_modules/../../etc", "{" + hash + "}"},
  };
  for (const auto& [place, entry] : foreign) {
    const Result<void> done = lock_of(place, entry);
    ASSERT_FALSE(done) << place << " " << entry;
    EXPECT_NE(done.error().message.find("thimble image build DIR"), std::string::npos);
  }
}

TEST(NpmLockTest, WhatLiesInThePackageAboveIsLockedByThatOnesHash) {
  EXPECT_TRUE(lock_of("node_modules/a/node_modules/b",
                      R"({"version":"1.0.0","inBundle":true,"resolved":"https://h/b.tgz"})"));
}

TEST(NpmLockTest, RemembersThatAPackageWantedToRunAScript) {
  nlohmann::json inputs;
  InstalledPackage installed;
  ASSERT_TRUE(record_lock(
      R"({"packages":{"node_modules/a":{"integrity":"sha512-x","hasInstallScript":true}}})", inputs,
      installed));
  EXPECT_TRUE(installed.runs_scripts);
  EXPECT_TRUE(installed.scripts.contains("node_modules/a"));
}

TEST(NpmScriptTest, NamesWhatWouldBeRunInOneLine) {
  EXPECT_EQ(install_scripts(R"({"scripts":{"install":"node-gyp rebuild","test":"x"}})"),
            "install: node-gyp rebuild");
  EXPECT_EQ(install_scripts(R"({"scripts":{"preinstall":"a","postinstall":"b"}})"),
            "preinstall: a; postinstall: b");
  EXPECT_EQ(install_scripts(R"({"scripts":{"install":"a\nerror: \u001b[2Jb"}})"),
            "install: aerror: [2Jb");
  EXPECT_EQ(install_scripts(R"({"scripts":{"install":")" + std::string(9999, 'x') + "\"}}").size(),
            160U);
  for (const char* text :
       {"", "{", "[]", "{}", R"({"scripts":[]})", R"({"scripts":{"install":7}})"}) {
    EXPECT_EQ(install_scripts(text), "") << text;
  }
}

TEST(NpmLockTest, DamagedLockFilesAreRefused) {
  for (const char* text : {"", "[]", "{}", "{\"packages\":[]}", "{\"packages\":{\"x\":1}}", "{"}) {
    nlohmann::json inputs;
    InstalledPackage installed;
    EXPECT_FALSE(record_lock(text, inputs, installed)) << text;
  }
}

std::string default_bin(const char* json, const char* package) {
  InstalledPackage installed;
  const Result<void> done = read_bins(json, package, installed);
  return done ? installed.default_bin : "error: " + done.error().message;
}

TEST(NpmBinTest, ChoosesTheCommandThatNpxWouldRun) {
  EXPECT_EQ(default_bin(R"({"bin":"./cli.js"})", "@s/tool"), "tool");
  EXPECT_EQ(default_bin(R"({"bin":{"other":"cli.js"}})", "tool"), "other");
  EXPECT_EQ(default_bin(R"({"bin":{"a":"a.js","tool":"t.js"}})", "@s/tool"), "tool");
  EXPECT_EQ(default_bin(R"({"bin":{"a":"x.js","b":"x.js"}})", "tool"), "a");
  EXPECT_EQ(default_bin(R"({"bin":{"a":"a.js","b":"b.js"}})", "tool"), "") << "ambiguous";
}

// As npm itself takes such paths: as if the package were the root.
TEST(NpmBinTest, CommandsStayInsideThePackage) {
  const std::map<std::string, std::string> paths = {
      {R"({"bin":"../../../etc/passwd"})", "node_modules/tool/etc/passwd"},
      {R"({"bin":{"tool":"/bin/sh"}})", "node_modules/tool/bin/sh"},
      {R"({"bin":{"tool":"a/../../b"}})", "node_modules/tool/b"},
      {R"({"bin":{"../../tool":"./cli.js"}})", "node_modules/tool/cli.js"}};
  for (const auto& [json, place] : paths) {
    InstalledPackage installed;
    ASSERT_TRUE(read_bins(json, "tool", installed)) << json;
    EXPECT_EQ(installed.bins["tool"], place) << json;
  }
}

TEST(NpmBinTest, ABadCommandIsNoneAndTheOthersStay) {
  for (const char* bad : {R"("x":"")", R"("x":7)", R"("":"x.js")", R"("x":"..")", R"("a/":"x.js")",
                          R"("x":"a\u0000b")", R"("x\u0000":"x.js")", R"("x":"dir/")"}) {
    InstalledPackage installed;
    const std::string json = std::string(R"({"bin":{"good":"good.js",)") + bad + "}}";
    ASSERT_TRUE(read_bins(json, "tool", installed)) << json;
    EXPECT_EQ(installed.bins.size(), 1U) << json;
    EXPECT_EQ(installed.default_bin, "good") << json;
  }
}

TEST(NpmBinTest, APathThatComesBackIsTaken) {
  InstalledPackage installed;
  ASSERT_TRUE(read_bins(R"({"bin":"lib/../cli.js"})", "tool", installed));
  EXPECT_EQ(installed.bins["tool"], "node_modules/tool/cli.js");
}

TEST(NpmBinTest, APackageWithoutACommandIsRefused) {
  for (const char* json : {"{}", R"({"bin":{}})", R"({"bin":7})", "[]", "", R"({"bin":{"x":1}})"}) {
    InstalledPackage installed;
    EXPECT_FALSE(read_bins(json, "tool", installed)) << json;
  }
}

}  // namespace
}  // namespace thimble::image
