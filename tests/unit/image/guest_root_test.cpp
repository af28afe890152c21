// What is taken from a guest whose install scripts have run.
#include "tools/image/guest_root.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/image/files.h"
#include "tests/unit/image/scratch.h"
#include "tools/image/process.h"
#include "tools/image/worker.h"

namespace thimble::image {
namespace {

using nlohmann::json;

class GuestRootTest : public testing::Test {
 protected:
  GuestRootTest() {
    building_.work = scratch_.path() / "work";
    building_.root = building_.work / "root";
    building_.progress = [this](std::string_view line) { said_ += std::string(line) + "\n"; };
    building_.fetch = [](const Fetch&) { return fail("nothing is fetched"); };
    Manifest manifest;
    manifest.name = "npm:pkg@1.0.0";
    manifest.rootfs_sha256 = manifest.inputs_sha256 = std::string(64, 'a');
    guest_.manifest = manifest_to_json(manifest);
    guest_.inputs = json{{"install_scripts", {{"node_modules/pkg", "install: x"}}}}.dump();
    add("opt/thimble/app/node_modules/pkg/package.json", R"({"version":"1.0.0","bin":"cli.js"})");
    add("opt/thimble/app/node_modules/pkg/cli.js", "#!/usr/bin/env node\n");
    add(kScriptOutcome, R"({"node_modules/pkg":0})");
  }

  void add(const std::string& name, const std::string& text) {
    scratch_.add("guest/" + name, text);
  }
  void in_guest(const std::string& script) {
    ASSERT_TRUE(run_checked({.argv = {"sh", "-c", script}, .cwd = scratch_.path() / "guest"}, "x"));
  }
  Result<Manifest> make() {
    EXPECT_TRUE(make_directories(building_.work));
    const std::string archive = (building_.work / kGuestRoot).string();
    EXPECT_TRUE(run_checked(
        {.argv = {"tar", "-cPf", archive, "-C", (scratch_.path() / "guest").string(), "."}},
        "pack"));
    return make_of_guest(building_, "pkg", guest_);
  }

  Scratch scratch_;
  Building building_;
  GuestRoot guest_;
  std::string said_;
};

TEST_F(GuestRootTest, IsTheRootOfTheImage) {
  add("opt/thimble/app/node_modules/pkg/made", "made");
  const Result<Manifest> made = make();
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->command,
            (std::vector<std::string>{"node", "/opt/thimble/app/node_modules/pkg/cli.js"}));
  EXPECT_EQ(*read_file(building_.root / "opt/thimble/app/node_modules/pkg/made"), "made");
  EXPECT_FALSE(std::filesystem::exists(building_.root / kScriptOutcome));
  EXPECT_TRUE(std::filesystem::is_directory(building_.root / "proc"));
}

TEST_F(GuestRootTest, WhatIsNoFileIsRefused) {
  in_guest("mkfifo opt/pipe");
  const Result<Manifest> made = make();
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("pipe"), std::string::npos) << made.error().message;
}

TEST_F(GuestRootTest, LinksAreNotFollowed) {
  scratch_.add("outside/package.json", R"({"version":"1.0.0","bin":"stolen.js"})");
  in_guest("rm -r opt/thimble/app/node_modules/pkg && ln -s " +
           (scratch_.path() / "outside").string() + " opt/thimble/app/node_modules/pkg");
  EXPECT_FALSE(make());
}

TEST_F(GuestRootTest, FilesThatNobodyMayReadAreTaken) {
  in_guest("mkdir opt/shut && echo x >opt/shut/file && chmod 0 opt/shut/file && chmod 0 opt/shut");
  const Result<Manifest> made = make();
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(*read_file(building_.root / "opt/shut/file"), "x\n");
  in_guest("chmod 700 opt/shut");
}

TEST_F(GuestRootTest, ADamagedArchiveIsAnError) {
  ASSERT_TRUE(make_directories(building_.work));
  ASSERT_TRUE(write_file(building_.work / kGuestRoot, std::string(5000, 'x')));
  EXPECT_FALSE(make_of_guest(building_, "pkg", guest_));
}

TEST_F(GuestRootTest, ScriptsThatEndedWellAreRecorded) {
  json inputs = {{"install_scripts", {{"a", "install: x"}, {"b", "install: y"}}}};
  ASSERT_TRUE(record_outcome(R"({"a": 0, "b": 1, "c": 0})", inputs, building_.progress));
  EXPECT_EQ(inputs["scripts_run"], (json{{"a", "install: x"}}));
  EXPECT_EQ(inputs["install_scripts"], (json{{"b", "install: y"}}));
  EXPECT_NE(said_.find("b: its install script failed"), std::string::npos) << said_;
}

TEST_F(GuestRootTest, WithoutOneThereIsNoImage) {
  for (const char* outcome :
       {R"({"a": 1})", R"({"a": "0"})", "{}", "[0]", "", "0", R"({"b": 0})"}) {
    json inputs = {{"install_scripts", {{"a", "install: x"}}}, {"scripts_run", {{"b", "before"}}}};
    EXPECT_FALSE(record_outcome(outcome, inputs, building_.progress)) << outcome;
  }
}

}  // namespace
}  // namespace thimble::image
