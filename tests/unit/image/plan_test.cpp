// Which image, argv, mounts and directory a command line leads to.
#include "tools/image/plan.h"

#include <gtest/gtest.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// A home directory with a project in it, and the scratch directory as the world around.
class PlanTest : public testing::Test {
 protected:
  PlanTest() {
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

  Plan plan(const Words& argv, const fs::path& cwd, const std::string& image = {}) {
    const PlanContext context{.cwd = cwd, .home = home_, .image = image};
    Result<Plan> made = plan_command(argv, context);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : Plan{};
  }

  std::string refusal(const Words& argv) {
    const PlanContext context{.cwd = home_, .home = home_, .image = {}};
    const Result<Plan> made = plan_command(argv, context);
    return made ? "" : made.error().message;
  }

  Scratch scratch_;
  fs::path home_;
};

TEST_F(PlanTest, ChoosesTheImageByTheCommand) {
  const struct {
    Words argv;
    const char* image;
    Words guest;
  } cases[] = {
      {{"node", "-e", "1"}, "node", {"node", "-e", "1"}},
      {{"/home/u/.nvm/versions/node/v22/bin/node", "-v"}, "node", {"node", "-v"}},
      {{"python3", "-c", "1"}, "python", {"python3", "-c", "1"}},
      {{"python", "-V"}, "python", {"python", "-V"}},
      {{"python3.12", "-V"}, "python", {"python3", "-V"}},
      {{"cat"}, "busybox", {"cat"}},
      {{"/bin/sh", "-c", "exit 3"}, "busybox", {"/bin/sh", "-c", "exit 3"}},
      {{"sh", "-c", "kill -9 $$"}, "busybox", {"sh", "-c", "kill -9 $$"}},
      {{"npx", "-y", "pkg"}, "npm:pkg@latest", {""}},
      {{"npx", "@s/pkg@^1", "-y", "x"}, "npm:@s/pkg@^1", {"", "-y", "x"}},
      {{"/usr/bin/npx", "--yes", "--", "pkg", "a"}, "npm:pkg@latest", {"", "a"}},
      {{"npm", "exec", "-y", "--", "pkg", "a"}, "npm:pkg@latest", {"", "a"}},
  };
  for (const auto& c : cases) {
    const Plan made = plan(c.argv, home_);
    EXPECT_EQ(made.image.name, c.image);
    EXPECT_EQ(made.guest_argv, c.guest) << c.image;
    EXPECT_TRUE(made.mounts.empty()) << c.image;
  }
}

TEST_F(PlanTest, NpxRunsAnotherCommandOfAPackage) {
  for (const Words& argv : {Words{"npx", "-y", "-p", "pkg@1", "tool", "x"},
                            Words{"npx", "--package=pkg@1", "--", "tool", "x"}}) {
    const Plan made = plan(argv, home_);
    EXPECT_EQ(made.image.name, "npm:pkg@1");
    EXPECT_EQ(made.image_command, "tool");
    EXPECT_EQ(made.guest_argv, (Words{"", "x"}));
  }
}

TEST_F(PlanTest, WrongCommandsGetOneLineThatSaysWhatToWrite) {
  for (const Words& argv :
       {Words{}, Words{"npx"}, Words{"npx", "-y"}, Words{"npx", "-p"}, Words{"npx", "-c", "x"},
        Words{"npx", "-p", "a", "-p", "b", "c"}, Words{"npx", "./local"}, Words{"npx", "../x"},
        Words{"npx", "--", "-rf"}, Words{"npm", "start"}, Words{"npm"}}) {
    const std::string message = refusal(argv);
    EXPECT_FALSE(message.empty()) << (argv.empty() ? "" : argv.back());
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

TEST_F(PlanTest, AScriptBringsItsPackageRootWithoutGit) {
  const Plan made = plan({"node", "src/server.js"}, home_ / "project");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
  EXPECT_EQ(made.mounts[0].guest, home_ / "project");
  EXPECT_TRUE(made.mounts[0].request.leave_out_git);
  EXPECT_EQ(made.workdir, (home_ / "project").string());
  EXPECT_EQ(made.guest_argv, (Words{"node", "src/server.js"}));
}

TEST_F(PlanTest, AScriptBelowTheCurrentDirectoryKeepsItsRelativeName) {
  const Plan made = plan({"node", "project/src/server.js"}, home_);
  EXPECT_EQ(made.workdir, home_.string());
  EXPECT_EQ(made.guest_argv[1], "project/src/server.js");
}

TEST_F(PlanTest, ARelativePathElsewhereBecomesAbsolute) {
  const Plan made = plan({"cat", "../../../data/file.txt"}, home_ / "project");
  EXPECT_EQ(made.guest_argv[1], (scratch_.path() / "data/file.txt").string());
  EXPECT_EQ(made.workdir, "");
}

TEST_F(PlanTest, AScriptWithoutAPackageBringsItsOwnDirectory) {
  const Plan made = plan({"python3", "a.py"}, home_ / "loose");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "loose");
  EXPECT_TRUE(made.mounts[0].request.only.empty());
}

TEST_F(PlanTest, TheHomeDirectoryNeverGoesIn) {
  fs::create_symlink(home_, scratch_.path() / "link-to-home");
  for (const std::string& argument :
       {home_.string(), home_.string() + "/", std::string("."), home_.parent_path().string(),
        scratch_.path().string(), (scratch_.path() / "link-to-home").string(),
        home_.string() + "/project/..", "--root=" + home_.string()}) {
    const Plan made = plan({"npx", "pkg", argument}, home_);
    EXPECT_TRUE(made.mounts.empty()) << argument;
    EXPECT_EQ(made.notes.size(), 1U) << argument;
  }
}

TEST_F(PlanTest, AFileInTheHomeDirectoryGoesInAlone) {
  scratch_.add("home/ana/package.json", "{}");
  const Plan made = plan({"cat", "secret.txt"}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.only, Words{"secret.txt"});
}

TEST_F(PlanTest, AFileAmongUnrelatedOnesGoesInAlone) {
  for (const char* file : {".ssh/id_rsa", "Downloads/tool.py"}) {
    const Plan made = plan({"cat", file}, home_);
    ASSERT_EQ(made.mounts.size(), 1U) << file;
    EXPECT_EQ(made.mounts[0].request.only, Words{fs::path(file).filename().string()});
  }
}

TEST_F(PlanTest, SystemPathsAreTheGuestsOwn) {
  home_ = "/home/somebody";
  const Plan made = plan({"ls", "/", "/tmp", "/etc", "/etc/passwd", "/proc/self", "/usr/bin/env",
                          "/dev/null", "/etc/../etc/hostname", "/usr", "/var/tmp", "/usr/lib"},
                         "/");
  EXPECT_TRUE(made.mounts.empty());
  EXPECT_TRUE(made.notes.empty());
  EXPECT_EQ(made.guest_argv[4], "/etc/passwd");
}

TEST_F(PlanTest, ALinkIsNotAWayIntoSystemPathsOrTheHomeDirectory) {
  fs::create_symlink("/etc/passwd", home_ / "project/innocent.txt");
  const Plan made = plan({"cat", "innocent.txt"}, home_ / "project");
  EXPECT_TRUE(made.mounts.empty());
}

TEST_F(PlanTest, ALinkedScriptIsNamedByItsTrueFile) {
  fs::create_symlink(home_ / "project/src/server.js", scratch_.path() / "data/link.js");
  const Plan made = plan({"node", "link.js"}, scratch_.path() / "data");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
  EXPECT_EQ(made.guest_argv[1], (home_ / "project/src/server.js").string());
}

TEST_F(PlanTest, ADirectoryArgumentGoesInWhole) {
  const Plan made = plan({"npx", "pkg", (scratch_.path() / "data").string()}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, scratch_.path() / "data");
  EXPECT_FALSE(made.mounts[0].request.leave_out_git);
}

TEST_F(PlanTest, NestedPathsBecomeOneMount) {
  const Plan made =
      plan({"node", "project/src/server.js", "project", "project/src", "--x=./project"}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
}

TEST_F(PlanTest, AFileOfTmpDoesNotHideTheGuestsTmp) {
  std::string name = "/tmp/thimble-plan-XXXXXX";
  const int fd = ::mkstemp(name.data());
  ASSERT_GE(fd, 0);
  const Plan made = plan({"cat", name}, "/");
  ::unlink(name.c_str());
  ::close(fd);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].guest, "/mnt/thimble/0");
  EXPECT_EQ(made.guest_argv[1], "/mnt/thimble/0/" + fs::path(name).filename().string());
}

TEST_F(PlanTest, AnExecutableScriptChoosesTheImageByItsFirstLine) {
  scratch_.add("home/ana/project/run", "#!/usr/bin/env python3\n");
  const Plan python = plan({"./run", "x"}, home_ / "project");
  EXPECT_EQ(python.image.name, "python");
  EXPECT_EQ(python.guest_argv, (Words{"python3", "./run", "x"}));
  EXPECT_EQ(plan({"./src/server.js"}, home_ / "project").image.name, "node");
}

TEST_F(PlanTest, APythonModuleOfTheCurrentDirectoryGoesIn) {
  const Plan made = plan({"python3", "-m", "a"}, home_ / "loose");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.workdir, (home_ / "loose").string());
}

TEST_F(PlanTest, TooManyPlacesAreRefused) {
  Words argv = {"npx", "pkg"};
  for (int i = 0; i < 9; ++i) {
    const std::string directory = "many/" + std::to_string(i);
    scratch_.add(directory + "/x");
    argv.push_back((scratch_.path() / directory).string());
  }
  EXPECT_NE(refusal(argv).find("at most 8"), std::string::npos);
}

TEST_F(PlanTest, AnExplicitImageTakesTheCommandAsItIs) {
  const Plan made = plan({"npx", "-y", "x"}, home_, "mine");
  EXPECT_EQ(made.image.kind, Request::Kind::kNamed);
  EXPECT_EQ(made.guest_argv, (Words{"npx", "-y", "x"}));
  EXPECT_TRUE(plan({}, home_, "mine").guest_argv.empty());
}

TEST_F(PlanTest, HostileArgumentsAreJustArguments) {
  const Words argv = {"cat",
                      std::string(100'000, 'a'),
                      std::string(5000, '/'),
                      "",
                      "-",
                      "--",
                      "=",
                      "--=",
                      "\xff\xfe",
                      "--x=/\xff",
                      std::string(3000, '.'),
                      "//",
                      "a/../../../.."};
  const Plan made = plan(argv, home_);
  EXPECT_TRUE(made.mounts.empty());
  EXPECT_EQ(made.guest_argv.size(), argv.size());
}

}  // namespace
}  // namespace thimble::image
