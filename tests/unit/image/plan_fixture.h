// For tests of plans: a home directory with a project in it, and a scratch directory as the world
// around.
#pragma once

#include <gtest/gtest.h>

#include "pool/image/plan.h"
#include "tests/unit/image/scratch.h"

namespace thimble::image {

class PlanFixture : public testing::Test {
 protected:
  using Words = std::vector<std::string>;

  PlanFixture() {
    home_ = scratch_.path() / "home/ana";
    scratch_.add("home/ana/secret.txt");
    scratch_.add("home/ana/.ssh/id_rsa");
    scratch_.add("home/ana/Downloads/tool.py");
    scratch_.add("home/ana/project/package.json", "{}");
    scratch_.add("home/ana/project/src/server.js");
    scratch_.add("home/ana/loose/a.py");
    scratch_.add("home/ana/loose/b.py");
    scratch_.add("data/file.txt");
  }

  PlanContext context(const std::filesystem::path& cwd, const std::string& image = {}) const {
    return {.cwd = cwd, .home = home_, .image = image, .virtual_env = {}};
  }

  Plan plan(const Words& argv, const std::filesystem::path& cwd, const std::string& image = {}) {
    Result<Plan> made = plan_command(argv, context(cwd, image));
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : Plan{};
  }

  // Empty: it is taken.
  std::string refusal(const Words& argv, const std::filesystem::path& cwd) {
    const Result<Plan> made = plan_command(argv, context(cwd));
    return made ? "" : made.error().message;
  }
  std::string refusal(const Words& argv) { return refusal(argv, home_); }

  // The directories of the host that go in, sorted; "DIR: FILE…" for single files.
  static Words goes_in(const Plan& plan) {
    Words all;
    for (const HostPath& mount : plan.mounts) {
      std::string line = mount.request.path.string();
      for (const std::string& name : mount.request.only) {
        line += (name == mount.request.only[0] ? ": " : " ") + name;
      }
      all.push_back(std::move(line));
    }
    std::ranges::sort(all);
    return all;
  }
  std::string path(const std::string& relative) const {
    return (scratch_.path() / relative).string();
  }
  void link(const std::string& target, const std::string& relative) const {
    scratch_.add(relative + ".made");
    std::filesystem::remove(scratch_.path() / (relative + ".made"));
    std::filesystem::create_symlink(target, scratch_.path() / relative);
  }

  Scratch scratch_;
  std::filesystem::path home_;
};

}  // namespace thimble::image
