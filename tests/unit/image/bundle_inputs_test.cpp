// The bundler's list of inputs, which a package decides.
#include "tools/image/bundle_inputs.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

std::string refusal_of(const std::string& file) { return refuse_inputs({.files = {file}}); }

TEST(BundleInputsTest, FilesOfThePackageAreTaken) {
  for (const char* file : {"cli.js", "node_modules/@s/p/lib/a.mjs", "x.cjs", "a..b/data.json",
                           "node_modules/p/..x.js"}) {
    EXPECT_EQ(refusal_of(file), "") << file;
  }
}

TEST(BundleInputsTest, FilesOutsideThePackageAreRefused) {
  for (const char* file : {"../x.json", "/etc/x.json", "a/../../x.js", "..", "a/..", "",
                           "../../../../root/.config/client.json", "//etc/x.js"}) {
    EXPECT_NE(refusal_of(file).find("outside the package"), std::string::npos) << file;
  }
  EXPECT_NE(refusal_of(std::string("a.js\0b.js", 9)), "");
}

TEST(BundleInputsTest, WhatIsNotAFileOfJavaScriptIsRefused) {
  for (const char* file : {"<define:process.env>", "(disabled):a.js", "data.txt", "a.node", "a",
                           "http-url:x.js", "a.js?query", "disabled:fs.js", "a b.js", "a\n.js",
                           "\033[2J.js", "\"+x+\".js", "`.js", "\\.js"}) {
    EXPECT_NE(refusal_of(file), "") << file;
  }
}

TEST(BundleInputsTest, OneBadFileAmongGoodOnesIsSeen) {
  EXPECT_NE(refuse_inputs({.files = {"a.js", "b.js", "../c.js", "d.js"}}), "");
}

TEST(MetafileTest, TellsModulesFromScripts) {
  const auto inputs = parse_metafile(
      R"({"inputs":{"a.mjs":{"bytes":1,"format":"esm"},"b.js":{"format":"cjs"},"c.json":{}}})",
      "a.mjs");
  ASSERT_TRUE(inputs);
  EXPECT_EQ(inputs->files, (std::vector<std::string>{"a.mjs", "b.js", "c.json"}));
  EXPECT_EQ(inputs->modules, std::vector<std::string>{"a.mjs"});
  EXPECT_TRUE(inputs->entry_is_module);
}

TEST(MetafileTest, DamagedListsAreRefused) {
  for (const char* text : {"", "{", "[]", "{}", R"({"inputs":[]})", R"({"inputs":{"a":1}})"}) {
    EXPECT_FALSE(parse_metafile(text, "a")) << text;
  }
}

}  // namespace
}  // namespace thimble::image
