// Which libraries the files of a package ask for.
#include "tools/image/libraries.h"

#include <gtest/gtest.h>

#include "tests/unit/image/elf_file.h"
#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

using Names = std::map<std::string, std::string>;

std::string needing(std::vector<std::string> libraries, const std::string& search = {}) {
  ElfFile file;
  for (const std::string& name : libraries) file.dynamic.emplace_back(DT_NEEDED, name);
  if (!search.empty()) file.dynamic.emplace_back(DT_RUNPATH, search);
  return file.bytes();
}

TEST(CollectNeedsTest, NamesALibraryAndWhoAsksForIt) {
  const Scratch package;
  package.add("node_modules/a/build/a.node", needing({"librt.so.1", "libssl.so.3"}));
  package.add("node_modules/a/readme", "text");
  EXPECT_EQ(collect_needs(package.path()).libraries,
            (Names{{"librt.so.1", "node_modules/a/build/a.node"},
                   {"libssl.so.3", "node_modules/a/build/a.node"}}));
}

TEST(CollectNeedsTest, WhatThePackageBringsIsNotAskedFor) {
  const Scratch package;
  package.add("sharp/lib/sharp.node", needing({"libvips.so.42"}, "$ORIGIN/../../vips/lib"));
  package.add("vips/lib/libvips.so.42", needing({"libbeside.so"}));
  package.add("vips/lib/libbeside.so", needing({}));
  package.add("other/x.node", needing({"libvips.so.42"}));
  const LibraryNeeds needs = collect_needs(package.path());
  EXPECT_EQ(needs.libraries, (Names{{"libvips.so.42", "other/x.node"}})) << "it says no folder";
  EXPECT_TRUE(needs.brought.contains("libvips.so.42"));
}

TEST(CollectNeedsTest, SearchPathsThatLeadOutOfThePackageFindNothing) {
  const Scratch host;
  host.add("outside/libx.so.1", "x");
  host.add("package/a.node", needing({"libx.so.1"}, "$ORIGIN/../outside"));
  host.add("package/b.node", needing({"libx.so.1"}, (host.path() / "outside").string()));
  EXPECT_EQ(collect_needs(host.path() / "package").libraries.size(), 1U);
}

TEST(CollectNeedsTest, FilesForOtherMachinesAskForNothing) {
  const Scratch package;
  const ElfFile musl{.dynamic = {{DT_NEEDED, "libc.musl-x86_64.so.1"}, {DT_NEEDED, "libz.so.1"}}};
  const ElfFile arm{.machine = EM_AARCH64, .dynamic = {{DT_NEEDED, "libz.so.1"}}};
  package.add("prebuilds/musl.node", musl.bytes());
  package.add("prebuilds/arm.node", arm.bytes());
  const LibraryNeeds needs = collect_needs(package.path());
  EXPECT_TRUE(needs.libraries.empty());
  EXPECT_TRUE(needs.packages.empty());
}

TEST(CollectNeedsTest, LinksAreNotFollowed) {
  const Scratch host;
  host.add("outside/a.node", needing({"libz.so.1"}));
  host.add("package/file");
  ASSERT_TRUE(make_symlink(host.path() / "outside", host.path() / "package/link"));
  ASSERT_TRUE(make_symlink(host.path() / "outside/a.node", host.path() / "package/a.node"));
  EXPECT_TRUE(collect_needs(host.path() / "package").libraries.empty());
}

// The text may lie anywhere, also where the file is read in two pieces.
TEST(CollectNeedsTest, LibrariesThatAreOpenedByNameAreFound) {
  const Scratch package;
  ElfFile program;
  const std::size_t head = program.bytes().size();
  program.text = std::string((1 << 20) - head - 5, 'x') + "libicuuc.so.%s";
  package.add("bin/server", program.bytes());
  package.add("notes.txt", "libssl.so.3");
  EXPECT_EQ(collect_needs(package.path()).packages, (Names{{"libicu72", "bin/server"}}));
}

TEST(DebianPackageTest, FollowsDebiansRule) {
  const Names packages = {{"libssl.so.3", "libssl3"},
                          {"libcrypto.so.3", "libssl3"},
                          {"libX11.so.6", "libx11-6"},
                          {"libsqlite3.so.0", "libsqlite3-0"},
                          {"libstdc++.so.6", "libstdc++6"},
                          {"libgcc_s.so.1", "libgcc-s1"},
                          {"libgssapi_krb5.so.2", "libgssapi-krb5-2"},
                          {"libbz2.so.1.0", "libbz2-1.0"},
                          {"libsecret-1.so.0", "libsecret-1-0"},
                          {"libicui18n.so.72", "libicu72"},
                          {"libz.so.1", "zlib1g"},
                          {"libnss3.so", "libnss3"},
                          {"libdb-5.3.so", "libdb5.3"},
                          {"odd", "odd"},
                          {"odd.so", "odd"},
                          {"odd.so.", "odd"},
                          {"", ""}};
  for (const auto& [library, package] : packages) {
    EXPECT_EQ(debian_package_of(library), package) << library;
  }
}

}  // namespace
}  // namespace thimble::image
