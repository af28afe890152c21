// Tying source files to their place before bundling, and seeing what a bundle would break.
#include "tools/image/bundle.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

TEST(TieToPlaceTest, AModuleKeepsItsOwnUrl) {
  EXPECT_EQ(tie_to_place("#!/usr/bin/env node\nread(import.meta.url)", "/app/x/i.js", true),
            "#!/usr/bin/env node\nconst __thimble_url=\"file:///app/x/i.js\";read(__thimble_url)");
}

TEST(TieToPlaceTest, AScriptKeepsItsDirectory) {
  EXPECT_EQ(tie_to_place("read(__dirname)", "/app/x/i.js", false),
            "var __dirname=\"/app/x\";read(__dirname)");
}

TEST(TieToPlaceTest, StrictModeIsKept) {
  EXPECT_TRUE(tie_to_place("'use strict';\nx(__dirname)", "/a/i.js", false)
                  .starts_with("\"use strict\";var __dirname"));
}

TEST(TieToPlaceTest, AComputedRequireResolvesFromItsOwnFile) {
  const std::string tied = tie_to_place("m=require(name);n=require('x')", "/a/i.js", false);
  EXPECT_NE(tied.find("m=__thimble_require(name)"), std::string::npos);
  EXPECT_NE(tied.find("n=require('x')"), std::string::npos);
  EXPECT_NE(tied.find("createRequire(\"/a/i.js\")"), std::string::npos);
}

TEST(TieToPlaceTest, ARequireResolveAsksForTheUnbundledFile) {
  const std::string tied = tie_to_place("p=require.resolve('x')", "/a/i.js", false);
  EXPECT_NE(tied.find("p=__thimble_require.resolve('x')"), std::string::npos);
  EXPECT_NE(tied.find("createRequire(\"/a/i.js\")"), std::string::npos);
}

TEST(TieToPlaceTest, MethodsAndOtherWordsNamedRequireAreLeftAlone) {
  const std::string source = "a.require(x);myrequire(y);require();b.require.resolve(z)";
  EXPECT_EQ(tie_to_place(source, "/a/i.js", false), source);
}

TEST(TieToPlaceTest, WhatDependsOnNoPlaceIsUnchanged) {
  for (const char* source : {"", "#!", "#!x", "export const a=1", "'use strict'"}) {
    EXPECT_EQ(tie_to_place(source, "/a/i.js", true), source);
    EXPECT_EQ(tie_to_place(source, "/a/i.js", false), source);
  }
}

TEST(BundleHazardTest, SeesWhatWouldBehaveOtherwise) {
  for (const char* source : {"if(require.main===module)run()", "module.parent",
                             "__require.resolve('x')", "import.meta.x", "await import(name)",
                             "import(`x`)", "import(", "delete require.cache[x]"}) {
    EXPECT_NE(find_hazard(source), "") << source;
  }
  for (const char* source : {"", "import(\"node:fs\")", "myimport(x)", "require(\"x\")"}) {
    EXPECT_EQ(find_hazard(source), "") << source;
  }
}

}  // namespace
}  // namespace thimble::image
