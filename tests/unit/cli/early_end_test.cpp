// What is said of a server that ended at once.
#include "tools/cli/early_end.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace thimble::cli {
namespace {

using nlohmann::json;

std::string hint(const json& scripts) {
  return scripts_hint({{"install_scripts", scripts}}, "npm:@scope/server@1.2.3");
}

TEST(EarlyEnd, NamesThePackageAndTheScriptThatWasNotRun) {
  const std::string line = hint({{"node_modules/a/node_modules/@b/c", "install: node get.js"}});
  EXPECT_NE(line.find("not run: @b/c (install: node get.js)"), std::string::npos) << line;
  EXPECT_NE(line.find("@scope/server"), std::string::npos) << line;
  EXPECT_EQ(line.find("1.2.3"), std::string::npos) << line;
}

TEST(EarlyEnd, ManyScriptsAreCounted) {
  json scripts;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) scripts[name] = "install: x";
  const std::string line = hint(scripts);
  EXPECT_NE(line.find("d (install: x) and 2 more"), std::string::npos) << line;
  EXPECT_EQ(line.find("e (install: x)"), std::string::npos) << line;
}

TEST(EarlyEnd, NothingIsSaidOfImagesWithoutThem) {
  EXPECT_EQ(scripts_hint(json::object(), "npm:a@1.0.0"), "");
  EXPECT_EQ(hint(json::object()), "");
  EXPECT_EQ(hint(json::array({"a"})), "");
  EXPECT_EQ(hint("a"), "");
}

}  // namespace
}  // namespace thimble::cli
