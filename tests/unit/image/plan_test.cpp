// Which image, argv, mounts and directory a command line leads to.
#include "pool/image/plan.h"

#include <gtest/gtest.h>

#include "tests/unit/image/plan_fixture.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class PlanTest : public PlanFixture {};

TEST_F(PlanTest, ChoosesTheImageByTheCommand) {
  const struct {
    Words argv;
    const char* image;
    Words guest;
  } cases[] = {
      {{"node", "-e", "1"}, "node", {"node", "-e", "1"}},
      {{"/usr/local/bin/node", "-v"}, "node", {"node", "-v"}},
      {{"python3", "-c", "1"}, "python", {"python3", "-c", "1"}},
      {{"python", "-V"}, "python", {"python", "-V"}},
      {{"python3.11", "-V"}, "python", {"python3", "-V"}},
      {{"/usr/bin/env", "python3", "-V"}, "python", {"python3", "-V"}},
      {{"cat"}, "busybox", {"cat"}},
      {{"/bin/sh", "-c", "exit 3"}, "busybox", {"/bin/sh", "-c", "exit 3"}},
      {{"sh", "-c", "kill -9 $$"}, "busybox", {"sh", "-c", "kill -9 $$"}},
      {{"npx", "-y", "pkg"}, "npm:pkg@latest", {""}},
      {{"npx", "@s/pkg@^1", "-y", "x"}, "npm:@s/pkg@^1", {"", "-y", "x"}},
      {{"/usr/bin/npx", "--yes", "--", "pkg", "a"}, "npm:pkg@latest", {"", "a"}},
      {{"npm", "exec", "-y", "--", "pkg", "a"}, "npm:pkg@latest", {"", "a"}},
      {{"npm", "exec", "pkg", "--", "a"}, "npm:pkg@latest", {"", "a"}},
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

TEST_F(PlanTest, AnExplicitImageTakesTheCommandAsItIs) {
  const Plan made = plan({"npx", "-y", "x"}, home_, "mine");
  EXPECT_EQ(made.image.kind, Request::Kind::kNamed);
  EXPECT_EQ(made.guest_argv, (Words{"npx", "-y", "x"}));
  EXPECT_TRUE(plan({}, home_, "mine").guest_argv.empty());
}

TEST_F(PlanTest, NpxRunsTheProjectsOwnCommand) {
  scratch_.add("home/ana/project/node_modules/pkg/cli.js", "#!/usr/bin/env node\n");
  scratch_.add("home/ana/project/node_modules/.bin/other");
  fs::create_symlink("../pkg/cli.js", home_ / "project/node_modules/.bin/pkg");
  const Plan made = plan({"npx", "-y", "pkg", "a"}, home_ / "project/src");
  EXPECT_EQ(made.image.name, "node");
  EXPECT_EQ(made.guest_argv,
            (Words{"node", (home_ / "project/node_modules/.bin/pkg").string(), "a"}));
  EXPECT_EQ(plan({"npx", "pkg@latest"}, home_ / "project").image.name, "npm:pkg@latest");
  EXPECT_NE(refusal({"npx", "--no-install", "none"}, home_ / "project"), "");
}

TEST_F(PlanTest, WhatNoImageHasIsSaidAtOnce) {
  const struct {
    Words argv;
    const char* part;
  } cases[] = {
      {{"uvx", "mcp-server-time"}, "PyPI"},
      {{"uv", "run", "x"}, "PyPI"},
      {{"docker", "run", "-i", "x"}, "no containers"},
      {{"bunx", "pkg"}, "npx -y PACKAGE"},
      {{"deno", "run", "x.ts"}, "--image"},
      {{"no-such-command"}, "not in the image busybox"},
      {{"/usr/bin/no-such-command"}, "not in the image busybox"},
      {{"./none.js"}, "there is no such program here"},
      {{"/no/such/program", "x"}, "there is no such program here"},
      {{"/no/such/bin/python3", "x.py"}, "there is no such program here"},
      {{"node", "none.js"}, "there is no such program here"},
      {{"python3", "./none.py"}, "there is no such program here"},
  };
  for (const auto& c : cases) {
    const Plan made = plan(c.argv, home_);
    EXPECT_NE(made.not_found.find(c.part), std::string::npos) << c.argv[0] << made.not_found;
    EXPECT_EQ(made.not_found.find('\n'), std::string::npos);
  }
  for (const Words& argv : {Words{"cat"}, Words{"bash", "-c", "1"}, Words{"/bin/sh"},
                            Words{"env", "A=b", "sh"}, Words{"/etc/passwd"}, Words{"["}}) {
    EXPECT_EQ(plan(argv, home_).not_found, "") << argv[0];
  }
  EXPECT_EQ(plan({"docker", "x"}, home_, "mine").not_found, "");
}

TEST_F(PlanTest, EnvIsSeenThrough) {
  const struct {
    Words argv;
    const char* image;
    Words before;
    Words guest;
  } cases[] = {
      {{"env", "A=b", "node", "-v"}, "node", {"env", "A=b"}, {"node", "-v"}},
      {{"env", "-i", "-u", "X", "-uY", "--unset=Z", "A=", "cat"},
       "busybox",
       {"env", "-i", "-u", "X", "-u", "Y", "-u", "Z", "A="},
       {"cat"}},
      {{"env", "-S", "A=b node -e 1", "x"}, "node", {"env", "A=b"}, {"node", "-e", "1", "x"}},
      {{"env", "-Spython3 -V"}, "python", {}, {"python3", "-V"}},
      {{"/usr/bin/env", "env", "A=b", "npx", "pkg", "x"},
       "npm:pkg@latest",
       {"env", "A=b"},
       {"", "x"}},
      {{"env"}, "busybox", {}, {"env"}},
      {{"env", "A=b"}, "busybox", {}, {"env", "A=b"}},
  };
  for (const auto& c : cases) {
    const Plan made = plan(c.argv, home_);
    EXPECT_EQ(made.image.name, c.image);
    EXPECT_EQ(made.before, c.before) << c.image;
    EXPECT_EQ(made.guest_argv, c.guest) << c.image;
    EXPECT_EQ(made.not_found, "");
  }
  for (const Words& argv : {Words{"env", "FOO=1", "uvx", "foo"}, Words{"env", "-S", "A=1 uvx foo"},
                            Words{"env", "-u", "X", "uvx"}, Words{"env", "-C", "/", "sh"},
                            Words{"env", "-S", "a 'b"}, Words{"env", "A=b", "no-such-command"}}) {
    EXPECT_NE(plan(argv, home_).not_found, "") << argv[1];
  }
  const Plan named = plan({"env", "CONFIG=" + path("data/file.txt"), "cat"}, home_);
  EXPECT_EQ(goes_in(named), Words{path("data") + ": file.txt"});
}

TEST_F(PlanTest, ADirectoryWithoutAnEntryIsSaidAtOnce) {
  scratch_.add("home/ana/built/package.json", R"({"main": "dist/x.js"})");
  scratch_.add("home/ana/index/index.js");
  scratch_.add("home/ana/main/package.json", R"({"main": "lib"})");
  scratch_.add("home/ana/main/lib/index.js");
  scratch_.add("home/ana/module/__main__.py");
  const auto missing = [&](const Words& argv, const char* cwd) {
    return plan(argv, home_ / cwd).not_found;
  };
  EXPECT_NE(missing({"node", "."}, "project"), "");
  EXPECT_NE(missing({"node", "."}, "built").find("dist/x.js"), std::string::npos);
  EXPECT_NE(missing({"python3", "."}, "index").find("__main__.py"), std::string::npos);
  EXPECT_EQ(missing({"node", "."}, "index"), "");
  EXPECT_EQ(missing({"node", "../main"}, "index"), "");
  EXPECT_EQ(missing({"python3", "../module"}, "index"), "");
  EXPECT_EQ(missing({"node", "-e", "1", "."}, "project"), "");
}

TEST_F(PlanTest, ACompiledProgramGetsTheLibrariesOfGlibc) {
  const Plan made = plan({fs::canonical("/proc/self/exe").string()}, home_);
  EXPECT_EQ(made.image.name, "python");
  ASSERT_FALSE(made.notes.empty());
  EXPECT_NE(made.notes[0].find("libcrypto"), std::string::npos) << made.notes[0];
  EXPECT_EQ(made.notes[0].find("libc.so"), std::string::npos) << made.notes[0];
}

TEST_F(PlanTest, ADeletedCurrentDirectoryIsNoObstacle) {
  const fs::path before = fs::current_path();
  fs::create_directory(scratch_.path() / "gone");
  fs::current_path(scratch_.path() / "gone");
  fs::remove(scratch_.path() / "gone");
  const Result<PlanContext> context = PlanContext::from_process();
  fs::current_path(before);
  ASSERT_TRUE(context);
  EXPECT_TRUE(plan({"cat", "file.txt"}, context->cwd).mounts.empty());
}

TEST_F(PlanTest, AShellGetsTheImageThatHasWhatItsLineNames) {
  const struct {
    Words argv;
    const char* image;
  } cases[] = {
      {{"sh", "-c", "echo"}, "busybox"},          {{"sh", "-c", "node -v"}, "node"},
      {{"bash", "-c", "python3 -V"}, "python"},   {{"/bin/bash", "-lc", "exec node x"}, "node"},
      {{"bash", "-c", "declare -A a"}, "python"}, {{"./run.bash"}, "python"},
  };
  scratch_.add("home/ana/run.bash", "#!/usr/bin/env bash\n");
  for (const auto& c : cases) EXPECT_EQ(plan(c.argv, home_).image.name, c.image) << c.argv.back();
  EXPECT_NE(plan({"bash", "-c", "cd x && npx -y pkg"}, home_).not_found, "");
  EXPECT_EQ(plan({"bash", "-c", "echo npx"}, home_).not_found, "");
}

}  // namespace
}  // namespace thimble::image
