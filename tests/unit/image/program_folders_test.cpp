// What a program brings along: what node and python would find from where it is.
#include <gtest/gtest.h>

#include "tests/unit/image/plan_fixture.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class ProgramFoldersTest : public PlanFixture {
 protected:
  Words brought(const Words& argv, const fs::path& cwd) { return goes_in(plan(argv, cwd)); }
};

TEST_F(ProgramFoldersTest, AHoistedWorkspaceGoesInWhole) {
  scratch_.add("p/package.json", R"({"name":"p","workspaces":["packages/*"]})");
  scratch_.add("p/node_modules/dep/index.js");
  scratch_.add("p/packages/s/package.json", R"({"name":"s","dependencies":{"dep":"1"}})");
  scratch_.add("p/packages/s/index.js");
  link("../packages/s", "p/node_modules/s");
  EXPECT_EQ(brought({"node", "index.js"}, scratch_.path() / "p/packages/s"), Words{path("p")});
  EXPECT_EQ(brought({"node", "node_modules/s/index.js"}, scratch_.path() / "p"), Words{path("p")});
  fs::remove(scratch_.path() / "p/package.json");
  scratch_.add("p/pnpm-workspace.yaml");
  EXPECT_EQ(brought({"node", path("p/packages/s/index.js")}, home_), Words{path("p")});
}

TEST_F(ProgramFoldersTest, WithoutAWorkspaceTheNodeModulesAboveGoIn) {
  scratch_.add("p/node_modules/dep/index.js");
  scratch_.add("p/other/secret");
  scratch_.add("p/packages/s/package.json", R"({"name":"s","dependencies":{"dep":"1"}})");
  scratch_.add("p/packages/s/index.js");
  EXPECT_EQ(brought({"node", path("p/packages/s/index.js")}, home_),
            (Words{path("p/node_modules"), path("p/packages/s")}));
  // What the package has itself is found first.
  scratch_.add("p/packages/s/node_modules/dep/index.js");
  EXPECT_EQ(brought({"node", path("p/packages/s/index.js")}, home_), Words{path("p/packages/s")});
}

TEST_F(ProgramFoldersTest, AnInstalledPackageBringsItsNeighbours) {
  scratch_.add("p/package.json", R"({"name":"p"})");
  scratch_.add("p/secret.env");
  scratch_.add("p/node_modules/srv/package.json", R"({"name":"srv","bin":{"x":"dist/index.js"}})");
  scratch_.add("p/node_modules/srv/dist/index.js", "#!/usr/bin/env node\n");
  link("../srv/dist/index.js", "p/node_modules/.bin/x");
  const Words modules{path("p/node_modules")};
  EXPECT_EQ(brought({"node", "node_modules/srv/dist/index.js"}, scratch_.path() / "p"), modules);
  const Plan bin = plan({"node_modules/.bin/x", "a"}, scratch_.path() / "p");
  EXPECT_EQ(goes_in(bin), modules);
  EXPECT_EQ(bin.image.name, "node");
  EXPECT_EQ(bin.guest_argv, (Words{"node", "node_modules/.bin/x", "a"}));
  EXPECT_EQ(bin.workdir, path("p"));
}

TEST_F(ProgramFoldersTest, PnpmsLinkedPackagesAreFound) {
  scratch_.add("p/node_modules/.pnpm/srv@1/node_modules/srv/package.json", R"({"name":"srv"})");
  scratch_.add("p/node_modules/.pnpm/srv@1/node_modules/srv/index.js");
  link(".pnpm/srv@1/node_modules/srv", "p/node_modules/srv");
  EXPECT_EQ(brought({"node", path("p/node_modules/srv/index.js")}, home_),
            Words{path("p/node_modules")});
}

TEST_F(ProgramFoldersTest, APackageJsonThatOnlySaysTheKindOfModulesIsNoRoot) {
  scratch_.add("p/package.json", R"({"name":"p","type":"commonjs"})");
  scratch_.add("p/dist/esm/package.json", R"({"type":"module"})");
  scratch_.add("p/dist/esm/index.js");
  EXPECT_EQ(brought({"node", "p/dist/esm/index.js"}, scratch_.path()), Words{path("p")});
  // Unless there is no other.
  scratch_.add("q/package.json", R"({ "type": "module" })");
  scratch_.add("q/src/index.js");
  EXPECT_EQ(brought({"node", "q/src/index.js"}, scratch_.path()), Words{path("q")});
}

TEST_F(ProgramFoldersTest, ALoneScriptSaysThatItsNeighboursStay) {
  scratch_.add("home/ana/Downloads/helper.py");
  const Plan made = plan({"python3", "Downloads/tool.py"}, home_);
  EXPECT_EQ(goes_in(made), Words{(home_ / "Downloads").string() + ": tool.py"});
  ASSERT_EQ(made.notes.size(), 1U);
  EXPECT_NE(made.notes[0].find("goes in alone"), std::string::npos);
  fs::remove(home_ / "Downloads/helper.py");
  EXPECT_TRUE(plan({"python3", "Downloads/tool.py"}, home_).notes.empty());
}

TEST_F(ProgramFoldersTest, FilesThatNodeLoadsFirstAreProgramsToo) {
  scratch_.add("hook/package.json", "{}");
  scratch_.add("hook/a.cjs");
  for (const Words& argv : {Words{"node", "-r", "hook/a.cjs", "data/file.txt"},
                            Words{"node", "--require=./hook/a.cjs", "data/file.txt"},
                            Words{"node", "--title", "x", "--import", "./hook/a.cjs", "-e", "1"}}) {
    const Words found = brought(argv, scratch_.path());
    EXPECT_TRUE(std::ranges::find(found, path("hook")) != found.end()) << argv[1];
  }
}

TEST_F(ProgramFoldersTest, NodeFindsAScriptWithoutItsExtensionAndADirectory) {
  scratch_.add("home/ana/project/index.js");
  EXPECT_EQ(brought({"node", "src/server"}, home_ / "project"),
            Words{(home_ / "project").string()});
  EXPECT_EQ(brought({"node", "."}, home_ / "project"), Words{(home_ / "project").string()});
  EXPECT_EQ(plan({"node", "src/server"}, home_ / "project").guest_argv[1], "src/server");
}

TEST_F(ProgramFoldersTest, ArgumentsOfAProgramAreData) {
  scratch_.add("other/package.json", "{}");
  scratch_.add("other/config.json");
  const Plan made = plan({"node", "project/src/server.js", path("other/config.json")}, home_);
  EXPECT_EQ(goes_in(made), (Words{(home_ / "project").string(), path("other") + ": config.json"}));
}

TEST_F(ProgramFoldersTest, AShellScriptBringsItsFolder) {
  scratch_.add("tools/run.sh", "#!/bin/sh\n");
  EXPECT_EQ(brought({"sh", "tools/run.sh"}, scratch_.path()), Words{path("tools")});
  EXPECT_EQ(brought({"tools/run.sh"}, scratch_.path()), Words{path("tools")});
}

}  // namespace
}  // namespace thimble::image
