// What is added to the environment of a server that is frozen when it is ready.
#include "pool/image/reseed.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

using Environment = std::vector<std::string>;

constexpr const char* kReseed = "NODE_OPTIONS=--require=/usr/lib/thimble/renew.cjs";
constexpr const char* kAhead = " --require=/usr/lib/thimble/compile_ahead.cjs";

TEST(CompileAhead, ComesAfterOurPartAndBeforeTheUsersOptions) {
  const std::string reseed = kReseed;
  Environment environment = {"A=1", reseed, "B=2"};
  compile_ahead(environment);
  EXPECT_EQ(environment, (Environment{"A=1", reseed + kAhead, "B=2"}));
  environment = {reseed + " --trace-gc"};
  compile_ahead(environment);
  EXPECT_EQ(environment, (Environment{reseed + kAhead + " --trace-gc"}));
}

TEST(CompileAhead, LeavesEnvironmentsAloneThatLackOurPart) {
  const Environment others = {"NODE_OPTIONS=--trace-gc",
                              "NODE_OPTIONS=", std::string(kReseed) + "x",
                              std::string("X") + kReseed, "PATH=/bin"};
  Environment environment = others;
  compile_ahead(environment);
  EXPECT_EQ(environment, others);
  environment.clear();
  compile_ahead(environment);
  EXPECT_TRUE(environment.empty());
}

}  // namespace
}  // namespace thimble::image
