// Which variables a server that ended at once may have missed.
#include "tools/cli/key_hint.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace thimble::cli {
namespace {

using Words = std::vector<std::string>;

class KeyHint : public testing::Test {
 protected:
  KeyHint() {
    ::setenv("HINT_API_KEY", "the-secret", 1);
    ::setenv("HINT_OTHER_1", "the-secret", 1);
    ::setenv("HINTPLAIN", "the-secret", 1);
    ::setenv("THIMBLE_HINT_X", "the-secret", 1);
  }
};

TEST_F(KeyHint, NamesWhatIsSetHereAndWasNotGiven) {
  EXPECT_EQ(keys_not_given("Error: HINT_API_KEY is required\n", {"PATH=/bin"}),
            Words{"HINT_API_KEY"});
  EXPECT_EQ(keys_not_given("set \"HINT_OTHER_1\" or ${HINT_API_KEY}, HINT_OTHER_1!", {}),
            (Words{"HINT_OTHER_1", "HINT_API_KEY"}));
  EXPECT_EQ(keys_not_given("HINT_API_KEY is wrong", {"HINT_API_KEY="}), Words{});
  EXPECT_EQ(keys_not_given("HINT_API_KEY", {"HINT_API_KEY_2=x"}), Words{"HINT_API_KEY"});
}

TEST_F(KeyHint, OtherWordsAreNoKeys) {
  for (const char* output :
       {"", "HINTPLAIN", "UNSET_API_KEY", "hint_api_key", "xHINT_API_KEY", "HINT_API_KEYs", "_",
        "HINT_API_KEY_", "HINT_API", "THIMBLE_HINT_X", "\xff\x01___", "HINT-API-KEY"}) {
    EXPECT_EQ(keys_not_given(output, {}), Words{}) << output;
  }
  EXPECT_EQ(keys_not_given(std::string(100'000, 'A') + "_B", {}), Words{});
}

TEST_F(KeyHint, TheLineHasNoValues) {
  const std::string line = key_hint("HINT_API_KEY=?", {});
  EXPECT_NE(line.find("--env HINT_API_KEY"), std::string::npos);
  EXPECT_EQ(line.find("secret"), std::string::npos);
  EXPECT_EQ(key_hint("nothing", {}), "");
}

}  // namespace
}  // namespace thimble::cli
