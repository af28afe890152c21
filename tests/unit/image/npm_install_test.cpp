// How npm is called, with a stand-in for npm that notes its arguments.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/unit/image/scratch.h"
#include "tools/image/npm.h"

namespace thimble::image {
namespace {

class NpmInstallTest : public testing::Test {
 protected:
  NpmInstallTest() : path_(::getenv("PATH")) {
    ::setenv("PATH", (scratch_.path().string() + ":" + path_).c_str(), 1);
    building_.cache = scratch_.path() / "cache";
    building_.work = scratch_.path() / "work";
    building_.progress = [](std::string_view) {};
    building_.fetch = [this](const Fetch& fetch) {
      EXPECT_EQ(fetch.kind, Fetch::Kind::kPackage);
      return fetch_package({"pkg", "latest"}, building_.work);
    };
  }
  ~NpmInstallTest() override { ::setenv("PATH", path_.c_str(), 1); }

  // `script` runs in the directory of the install.
  Result<InstalledPackage> install_with(const std::string& script) {
    const auto npm = scratch_.add("npm", "#!/bin/sh\n" + script);
    ::chmod(npm.c_str(), 0755);
    remove_tree(building_.work);
    EXPECT_TRUE(make_directories(building_.work));
    return npm_install(building_, {"pkg", "latest"}, building_.work / "app");
  }

  std::string path_;
  Scratch scratch_;
  Building building_;
};

constexpr const char* kGoodInstall =
    "echo \"$@\" > ../../arguments\n"
    "mkdir -p node_modules/pkg\n"
    "echo '{\"version\":\"1.2.3\",\"bin\":\"cli.js\"}' > node_modules/pkg/package.json\n"
    "echo "
    "'{\"packages\":{\"node_modules/pkg\":{\"version\":\"1.2.3\",\"integrity\":\"sha512-x\"}}}'"
    " > package-lock.json\n";

TEST_F(NpmInstallTest, NpmIsToldToRunNoScripts) {
  const Result<InstalledPackage> installed = install_with(kGoodInstall);
  ASSERT_TRUE(installed) << installed.error().message;
  const std::string arguments = *read_file(building_.work / "arguments");
  EXPECT_NE(arguments.find("--ignore-scripts"), std::string::npos) << arguments;
  EXPECT_EQ(installed->version, "1.2.3");
}

TEST_F(NpmInstallTest, FilesOfAFolderMayBeItsCommands) {
  const auto installed = install_with(
      std::string(kGoodInstall) +
      "mkdir -p node_modules/pkg/tools/deep; cd node_modules/pkg/tools\n"
      "touch one.js two .hidden; ln -s /etc/passwd three\n"
      "echo '{\"version\":\"1.2.3\",\"directories\":{\"bin\":\"./tools\"}}' > ../package.json\n");
  ASSERT_TRUE(installed) << installed.error().message;
  const std::map<std::string, std::string> expected = {{"one.js", "node_modules/pkg/tools/one.js"},
                                                       {"two", "node_modules/pkg/tools/two"}};
  EXPECT_EQ(installed->bins, expected);
  EXPECT_FALSE(install_with(std::string(kGoodInstall) +
                            "echo '{\"version\":\"1\",\"directories\":{\"bin\":\"../../..\"}}' "
                            "> node_modules/pkg/package.json\n"));
}

TEST_F(NpmInstallTest, OnlyTheExactVersionStaysInTheImage) {
  ASSERT_TRUE(install_with(kGoodInstall));
  const auto app = building_.work / "app";
  EXPECT_NE(read_file(app / "package.json")->find("1.2.3"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(app / "package-lock.json"));
}

TEST_F(NpmInstallTest, AMissingPackageOrVersionIsSaidInPlainWords) {
  Result<InstalledPackage> installed =
      install_with("echo 'npm error code E404' >&2; echo 'npm error 404 Not Found' >&2; exit 1\n");
  ASSERT_FALSE(installed);
  EXPECT_NE(installed.error().message.find("no such package"), std::string::npos);
  installed = install_with("echo 'npm error code ETARGET' >&2; exit 1\n");
  ASSERT_FALSE(installed);
  EXPECT_NE(installed.error().message.find("no such version"), std::string::npos);
}

TEST_F(NpmInstallTest, WhatIsNotFromTheRegistryIsNotEvenFetched) {
  ASSERT_TRUE(install_with(kGoodInstall));
  const std::string arguments = *read_file(building_.work / "arguments");
  EXPECT_NE(arguments.find("--allow-git=none"), std::string::npos) << arguments;
  EXPECT_NE(arguments.find("--allow-remote=none"), std::string::npos) << arguments;
  const Result<InstalledPackage> installed =
      install_with("echo 'npm error code EALLOWREMOTE' >&2; exit 1\n");
  ASSERT_FALSE(installed);
  EXPECT_NE(installed.error().message.find("thimble image build DIR"), std::string::npos);
}

TEST_F(NpmInstallTest, APackageDescriptionThatIsALinkIsNotRead) {
  const Result<InstalledPackage> installed =
      install_with(std::string(kGoodInstall) +
                   "mv node_modules/pkg/package.json ../../outside.json\n"
                   "ln -s ../../../outside.json node_modules/pkg/package.json\n");
  ASSERT_FALSE(installed);
  EXPECT_NE(installed.error().message.find("symbolic link"), std::string::npos);
}

TEST_F(NpmInstallTest, AnotherFailureShowsNpmsOwnReason) {
  const Result<InstalledPackage> installed = install_with(
      "echo 'npm error network request failed' >&2\n"
      "echo 'npm error Log files were not written due to the config logs-max=0' >&2\n"
      "echo 'npm error A complete log of this run' >&2\nexit 1\n");
  ASSERT_FALSE(installed);
  EXPECT_NE(installed.error().message.find("network request failed"), std::string::npos);
  EXPECT_EQ(installed.error().message.find("complete log"), std::string::npos);
  EXPECT_EQ(installed.error().message.find("Log files"), std::string::npos);
}

TEST_F(NpmInstallTest, AnNpmThatLeavesNothingIsAnError) {
  EXPECT_FALSE(install_with("exit 0\n"));
  EXPECT_FALSE(install_with("echo '{' > package-lock.json\n"));
}

}  // namespace
}  // namespace thimble::image
