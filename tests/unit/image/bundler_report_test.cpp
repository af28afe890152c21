// Which words of esbuild's are a reason to run a package unbundled.
#include "tools/image/bundler_report.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

std::string warning(const std::string& text) {
  return "▲ [WARNING] " + text + "\n\n    a.js:1:2:\n      1 │ [ERROR] in a source\n\n";
}

TEST(BundlerReportTest, SilenceIsNothingAgainstABundle) {
  EXPECT_EQ(refuse_report(0, ""), "");
  EXPECT_EQ(refuse_report(0, "1 warning\n"), "");
}

TEST(BundlerReportTest, WarningsAboutStyleAreNotEither) {
  EXPECT_EQ(
      refuse_report(0, warning("Duplicate key \"a\" in object literal [duplicate-object-key]") +
                           warning("Comparison using \"!==\" [equals-new-object]")),
      "");
}

TEST(BundlerReportTest, OthersAre) {
  EXPECT_EQ(
      refuse_report(0, warning("Import \"x\" will always be undefined [import-is-undefined]")),
      "the bundler says: Import \"x\" will always be undefined [import-is-undefined]");
  EXPECT_EQ(refuse_report(0, warning("Something new")), "the bundler says: Something new");
  EXPECT_EQ(refuse_report(0, warning("duplicate-case [unknown] ")),
            "the bundler says: duplicate-case [unknown] ");
}

TEST(BundlerReportTest, AModuleThatIsMissingIsSaidPlainly) {
  EXPECT_EQ(refuse_report(1, "✘ [ERROR] Could not resolve \"bufferutil\"\n\n    ws.js:1:2:\n"),
            "it names a module that is not installed: \"bufferutil\"");
  EXPECT_EQ(refuse_report(1, "✘ [ERROR] Expected \";\" [duplicate-case]\n"),
            "the bundler says: Expected \";\" [duplicate-case]");
}

TEST(BundlerReportTest, ABundlerThatDiesIsNotTrusted) {
  EXPECT_EQ(refuse_report(139, ""), "the bundler ended with status 139");
  EXPECT_EQ(refuse_report(2, "goroutine 1 [running]:\n"), "the bundler ended with status 2");
}

}  // namespace
}  // namespace thimble::image
