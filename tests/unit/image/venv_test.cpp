// Interpreters that a command names: an environment goes in, another version is refused.
#include "pool/image/command/venv.h"

#include <gtest/gtest.h>

#include "pool/image/command/python.h"
#include "tests/unit/image/plan_fixture.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class VenvTest : public PlanFixture {
 protected:
  // As `python3 -m venv` makes it.
  void make_venv(const std::string& at, const std::string& version, const std::string& base) {
    scratch_.add(at + "/pyvenv.cfg", "home = " + fs::path(base).parent_path().string() +
                                         "\nversion = " + version + "\n");
    scratch_.add(at + "/lib/python3.11/site-packages/dep/__init__.py");
    link("python3", at + "/bin/python");
    link(base, at + "/bin/python3");
  }
};

TEST_F(VenvTest, AnEnvironmentGoesInWithItsProgram) {
  make_venv("p/.venv", "3.11.7", "/opt/python/bin/python3");
  scratch_.add("p/server.py");
  const Plan made = plan({".venv/bin/python", "server.py", "x"}, scratch_.path() / "p");
  EXPECT_EQ(made.image.name, "python");
  EXPECT_EQ(made.guest_argv, (Words{path("p/.venv/bin/python"), "server.py", "x"}));
  EXPECT_EQ(goes_in(made), (Words{"/opt/python/bin", path("p")}));
  // The image's interpreter stands where the environment's link leads.
  const auto base = std::ranges::find(made.mounts, fs::path("/opt/python/bin"), &HostPath::guest);
  EXPECT_EQ(base->request.links.at("python3"), "/usr/bin/python3");
}

TEST_F(VenvTest, AnEnvironmentOfTheSystemsPythonNeedsNoLink) {
  make_venv("venv", "3.11.2", "/usr/bin/python3");
  scratch_.add("p/server.py");
  const Plan made = plan({path("venv/bin/python3"), path("p/server.py")}, home_);
  EXPECT_EQ(goes_in(made), (Words{path("p"), path("venv")}));
}

TEST_F(VenvTest, ACommandOfAnEnvironmentRunsInIt) {
  make_venv("p/.venv", "3.11.7", "/usr/bin/python3");
  scratch_.add("p/pyproject.toml");
  scratch_.add("p/.venv/bin/serve", "#!" + path("p/.venv/bin/python3") + "\n");
  const Plan made = plan({"p/.venv/bin/serve", "--port", "1"}, scratch_.path());
  EXPECT_EQ(made.guest_argv,
            (Words{path("p/.venv/bin/python"), path("p/.venv/bin/serve"), "--port", "1"}));
  EXPECT_EQ(goes_in(made), Words{path("p/.venv")});
}

TEST_F(VenvTest, AScriptWhoseFirstLineNamesAnEnvironmentRunsInIt) {
  make_venv("p/.venv", "3.11.7", "/usr/bin/python3");
  scratch_.add("p/run", "#!" + path("p/.venv/bin/python") + "\n");
  const Plan made = plan({"./run"}, scratch_.path() / "p");
  EXPECT_EQ(made.guest_argv, (Words{path("p/.venv/bin/python"), "./run"}));
  EXPECT_EQ(goes_in(made), Words{path("p")});
}

TEST_F(VenvTest, TheActiveEnvironmentIsWhatABareNameMeans) {
  make_venv("venv", "3.11.7", "/usr/bin/python3");
  PlanContext active = context(home_);
  active.virtual_env = path("venv");
  const Result<Plan> made = plan_command({"python", "-m", "dep"}, active);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->guest_argv[0], path("venv/bin/python"));
  EXPECT_EQ(made->not_found, "");
}

TEST_F(VenvTest, ProjectsInstalledByReferenceGoInWhenTheEnvironmentIsTheirs) {
  make_venv("p/.venv", "3.11.7", "/usr/bin/python3");
  scratch_.add("p/pyproject.toml");
  scratch_.add("p/src/app/__init__.py");
  scratch_.add("p/.venv/lib/python3.11/site-packages/app.pth", path("p/src") + "\n");
  scratch_.add("p/.venv/bin/serve", "#!" + path("p/.venv/bin/python3") + "\n");
  EXPECT_EQ(goes_in(plan({path("p/.venv/bin/serve")}, home_)), Words{path("p")});
  // A foreign environment is no way to anything else.
  scratch_.add("p/.venv/lib/python3.11/site-packages/app.pth", home_.string() + "/.ssh\n");
  const Plan made = plan({path("p/.venv/bin/serve")}, home_);
  EXPECT_EQ(goes_in(made), Words{path("p/.venv")});
  EXPECT_EQ(made.notes.size(), 1U);
}

TEST_F(VenvTest, OtherVersionsAreRefusedWithTheReason) {
  make_venv("new", "3.12.1", "/usr/bin/python3");
  scratch_.add("none/pyvenv.cfg", "home = /usr/bin\n");
  scratch_.add("none/bin/python");
  scratch_.add("pyenv/3.13/bin/python3.13");
  link("python3.13", "pyenv/3.13/bin/python3");
  scratch_.add("old", "#!/usr/bin/python2.7\n");
  for (const std::string& python :
       {path("new/bin/python"), path("none/bin/python"), path("pyenv/3.13/bin/python3"),
        std::string("python3.12"), std::string("/usr/bin/python3.12"), path("old")}) {
    const std::string message = refusal({python, "loose/a.py"});
    EXPECT_NE(message.find("3.11"), std::string::npos) << python << ": " << message;
  }
}

TEST_F(VenvTest, AnInstallationWithItsOwnPackagesIsRefused) {
  scratch_.add("conda/bin/python3.11");
  link("python3.11", "conda/bin/python");
  scratch_.add("conda/lib/python3.11/site-packages/pip/__init__.py");
  EXPECT_EQ(refusal({path("conda/bin/python"), "-V"}), "");
  scratch_.add("conda/lib/python3.11/site-packages/numpy/__init__.py");
  EXPECT_NE(refusal({path("conda/bin/python"), "-V"}).find("-m venv"), std::string::npos);
}

TEST_F(VenvTest, AModuleIsLookedForWherePythonDoes) {
  EXPECT_EQ(plan({"python3", "-m", "http.server"}, home_).not_found, "");
  EXPECT_EQ(plan({"python3", "-um", "a"}, home_ / "loose").not_found, "");
  EXPECT_EQ(plan({"python3", "-mjson.tool"}, home_).not_found, "");
  for (const Words& argv : {Words{"python3", "-m", "mcp_server_x"}, Words{"python", "-Immcp_x"},
                            Words{"python3", "-X", "dev", "-m", "../loose/a"}}) {
    const Plan made = plan(argv, home_);
    EXPECT_NE(made.not_found.find("neither in the standard library"), std::string::npos) << argv[1];
  }
}

TEST_F(VenvTest, AnotherNodeIsSaid) {
  scratch_.add("nvm/versions/node/v20.1.0/bin/node");
  scratch_.add("nvm/versions/node/v22.1.0/bin/node");
  EXPECT_EQ(plan({path("nvm/versions/node/v20.1.0/bin/node"), "-v"}, home_).notes.size(), 1U);
  EXPECT_TRUE(plan({path("nvm/versions/node/v22.1.0/bin/node"), "-v"}, home_).notes.empty());
}

}  // namespace
}  // namespace thimble::image
