// When the version behind "latest" is looked for again, and that no start waits for it.
#include "pool/image/freshness.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "pool/image/ensure.h"
#include "pool/image/plan.h"
#include "pool/image/request_key.h"
#include "tests/unit/image/scratch.h"
#include "tools/image/erofs.h"

namespace thimble::image {
namespace {

using std::chrono::hours;
using Clock = std::filesystem::file_time_type::clock;

class FreshnessTest : public testing::Test {
 protected:
  FreshnessTest() : store_(*Store::open_at(scratch_.path() / "cache")) {
    scratch_.add("tree/hello.txt", "hello");
    scratch_.add("staged/x");
    EXPECT_TRUE(make_erofs(scratch_.path() / "tree", scratch_.path() / "staged/rootfs.erofs",
                           Compression::kNone));
    Manifest manifest;
    manifest.name = "npm:x@1.0.0";
    manifest.command = {"x"};
    const auto published =
        store_.publish(scratch_.path() / "staged", std::move(manifest), nlohmann::json::object(),
                       request_.name, *request_key(request_));
    EXPECT_TRUE(published) << published.error().message;
  }

  void wait_for_builder() {
    for (;;) {
      const auto lock = store_.lock(request_.name);
      ASSERT_TRUE(lock) << lock.error().message;
      if (*lock) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  void make_old(hours age) { store_.set_named_at(request_.name, Clock::now() - age); }

  Scratch scratch_;
  Store store_;
  Request request_ = *request_npm("x");
};

TEST_F(FreshnessTest, AnImageIsOldADayAfterItsVersionWasFoundOut) {
  EXPECT_FALSE(is_older(store_, request_, kResolveAfter));
  make_old(hours(23));
  EXPECT_FALSE(is_older(store_, request_, kResolveAfter));
  make_old(hours(25));
  EXPECT_TRUE(is_older(store_, request_, kResolveAfter));
  EXPECT_FALSE(is_older(store_, *request_npm("x@1.2.3"), kResolveAfter));
  EXPECT_FALSE(is_older(store_, *request_recipe("node"), kResolveAfter));
  note_try(store_, request_);
  EXPECT_FALSE(is_older(store_, request_, kResolveAfter));
  EXPECT_TRUE(is_older(store_, request_, kResolveAfter - kRetryAfter - hours(1)));
}

// Without npm the builder fails; whoever starts has the image of before all the same.
TEST_F(FreshnessTest, AStartTakesTheOldImageAndABuilderLooksBesideIt) {
  make_old(hours(25));
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  std::string lines;
  const Progress collect = [&](std::string_view line) { lines += line; };
  const Result<Image> image = ensure_image(store_, request_, {.progress = collect});
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(lines, "");
  EXPECT_FALSE(is_older(store_, request_, kResolveAfter)) << "the next start would try again";
  wait_for_builder();
  EXPECT_TRUE(std::filesystem::exists(store_.log_path(request_.name))) << "nobody tried";
  EXPECT_EQ(store_.find(request_.name)->digest, image->digest);

  // Asked for at once, it is said why the old one runs.
  make_old(hours(1));
  Plan plan;
  plan.image = request_;
  plan.resolve_now = true;
  const Result<Prepared> prepared = prepare_plan(store_, plan, {.progress = collect});
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->image.digest, image->digest);
  EXPECT_NE(lines.find("the version from before is used"), std::string::npos) << lines;
}

}  // namespace
}  // namespace thimble::image
