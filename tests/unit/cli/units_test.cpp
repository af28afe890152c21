// Sizes and durations as users write them.
#include "tools/cli/units.h"

#include <gtest/gtest.h>

namespace thimble::cli {
namespace {

using std::chrono::milliseconds;

TEST(Units, SizesNeedAUnitThatIsKnown) {
  EXPECT_EQ(parse_size("512M"), 512ULL << 20);
  EXPECT_EQ(parse_size("64m"), 64ULL << 20);
  EXPECT_EQ(parse_size("1G"), 1ULL << 30);
  EXPECT_EQ(parse_size("512MiB"), 512ULL << 20);
  for (const char* wrong : {"", "M", "512", "512X", "-1M", "+1M", "1.5G", " 1G", "1G ", "1GB",
                            "0x10M", "99999999999G", "18446744073709551616K", "1MM", "1MiBiB"}) {
    EXPECT_FALSE(parse_size(wrong)) << wrong;
  }
}

TEST(Units, DurationsAreSecondsUnlessTheySayOtherwise) {
  EXPECT_EQ(parse_duration("10"), milliseconds(10000));
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300000));
  EXPECT_EQ(parse_duration("2h"), milliseconds(7200000));
  EXPECT_EQ(parse_duration("3d"), milliseconds(259200000));
  for (const char* wrong : {"", "s", "-1s", "1.5s", "1 s", "10x", "9999999999999h", "1y"}) {
    EXPECT_FALSE(parse_duration(wrong)) << wrong;
  }
}

TEST(Units, AnErrorShowsHowToWriteIt) {
  EXPECT_NE(parse_size("512").error().message.find("512M"), std::string::npos);
  EXPECT_NE(parse_duration("x").error().message.find("10s"), std::string::npos);
}

TEST(Units, SizesAreShownInTheLargestUnitThatFits) {
  EXPECT_EQ(format_size(512ULL << 20), "512M");
  EXPECT_EQ(format_size(3ULL << 30), "3G");
  EXPECT_EQ(format_size(1536ULL << 20), "1536M");
  EXPECT_EQ(format_size(100), "100 bytes");
}

TEST(Units, ADurationOrNever) {
  ASSERT_TRUE(parse_duration_or_never("2s"));
  EXPECT_EQ(**parse_duration_or_never("2s"), std::chrono::milliseconds(2000));
  ASSERT_TRUE(parse_duration_or_never("never"));
  EXPECT_FALSE(*parse_duration_or_never("never"));
  EXPECT_FALSE(parse_duration_or_never("nevermore"));
  EXPECT_FALSE(parse_duration_or_never(""));
}

}  // namespace
}  // namespace thimble::cli
