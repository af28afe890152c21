// After how long a clone gives its memory back, by either name of the variable.
#include "tools/cli/reclaim_setting.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace thimble::cli {
namespace {

using std::chrono::milliseconds;

class ReclaimSetting : public testing::Test {
 protected:
  ReclaimSetting() { forget(); }
  ~ReclaimSetting() override { forget(); }
  static void forget() {
    ::unsetenv("THIMBLE_RECLAIM_AFTER");
    ::unsetenv("THIMBLE_REST_AFTER");
  }
  // What it is, and what was said meanwhile.
  static std::string said(Result<std::optional<milliseconds>>& setting) {
    testing::internal::CaptureStderr();
    setting = reclaim_setting();
    return testing::internal::GetCapturedStderr();
  }
  Result<std::optional<milliseconds>> setting_ = fail("not asked");
};

TEST_F(ReclaimSetting, IsHalfASecondUnlessSet) {
  EXPECT_EQ(said(setting_), "");
  EXPECT_EQ(setting_.value(), milliseconds(500));
  ::setenv("THIMBLE_RECLAIM_AFTER", "never", 1);
  EXPECT_EQ(said(setting_), "");
  EXPECT_EQ(setting_.value(), std::nullopt);
}

TEST_F(ReclaimSetting, ItsEarlierNameGoesOnWithANote) {
  ::setenv("THIMBLE_REST_AFTER", "2s", 1);
  EXPECT_EQ(said(setting_), "thimble: THIMBLE_REST_AFTER is called THIMBLE_RECLAIM_AFTER now\n");
  EXPECT_EQ(setting_.value(), milliseconds(2000));
  ::setenv("THIMBLE_RECLAIM_AFTER", "1s", 1);
  EXPECT_EQ(said(setting_), "");
  EXPECT_EQ(setting_.value(), milliseconds(1000));
}

TEST_F(ReclaimSetting, AWrongOneIsRefused) {
  ::setenv("THIMBLE_RECLAIM_AFTER", "soon", 1);
  EXPECT_EQ(said(setting_), "");
  ASSERT_FALSE(setting_);
  EXPECT_EQ(setting_.error().message.find("THIMBLE_RECLAIM_AFTER: 'soon'"), 0U);
}

}  // namespace
}  // namespace thimble::cli
