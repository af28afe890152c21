// Which paths that a command names go into the guest, as what and by which name.
#include "pool/image/named_paths.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/image/plan_fixture.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class NamedPathsTest : public PlanFixture {};

TEST_F(NamedPathsTest, AScriptBringsItsPackageRootWithoutGit) {
  const Plan made = plan({"node", "src/server.js"}, home_ / "project");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
  EXPECT_EQ(made.mounts[0].guest, home_ / "project");
  EXPECT_TRUE(made.mounts[0].request.leave_out_git);
  EXPECT_EQ(made.workdir, (home_ / "project").string());
  EXPECT_EQ(made.guest_argv, (Words{"node", "src/server.js"}));
}

TEST_F(NamedPathsTest, AScriptBelowTheCurrentDirectoryKeepsItsRelativeName) {
  const Plan made = plan({"node", "project/src/server.js"}, home_);
  EXPECT_EQ(made.workdir, home_.string());
  EXPECT_EQ(made.guest_argv[1], "project/src/server.js");
}

TEST_F(NamedPathsTest, ARelativePathElsewhereBecomesAbsolute) {
  const Plan made = plan({"cat", "../../../data/file.txt"}, home_ / "project");
  EXPECT_EQ(made.guest_argv[1], (scratch_.path() / "data/file.txt").string());
  EXPECT_EQ(made.workdir, "");
}

TEST_F(NamedPathsTest, AScriptWithoutAPackageBringsItsOwnDirectory) {
  const Plan made = plan({"python3", "a.py"}, home_ / "loose");
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "loose");
  EXPECT_TRUE(made.mounts[0].request.only.empty());
}

TEST_F(NamedPathsTest, TheHomeDirectoryNeverGoesIn) {
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

TEST_F(NamedPathsTest, AFileInTheHomeDirectoryGoesInAlone) {
  scratch_.add("home/ana/package.json", "{}");
  const Plan made = plan({"cat", "secret.txt"}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.only, Words{"secret.txt"});
}

TEST_F(NamedPathsTest, AFileAmongUnrelatedOnesGoesInAlone) {
  for (const char* file : {".ssh/id_rsa", "Downloads/tool.py", "project/src/server.js"}) {
    const Plan made = plan({"cat", file}, home_);
    ASSERT_EQ(made.mounts.size(), 1U) << file;
    EXPECT_EQ(made.mounts[0].request.only, Words{fs::path(file).filename().string()});
  }
}

TEST_F(NamedPathsTest, SystemPathsAreTheGuestsOwn) {
  home_ = "/home/somebody";
  const Plan made = plan({"ls", "/", "/tmp", "/etc", "/etc/passwd", "/proc/self", "/usr/bin/env",
                          "/dev/null", "/etc/../etc/hostname", "/usr", "/var/tmp", "/usr/lib"},
                         "/");
  EXPECT_TRUE(made.mounts.empty());
  EXPECT_EQ(made.notes.size(), 2U) << "/tmp and /var/tmp are said";
  EXPECT_EQ(made.guest_argv[4], "/etc/passwd");
}

TEST_F(NamedPathsTest, ALinkIsNotAWayIntoSystemPathsOrTheHomeDirectory) {
  fs::create_symlink("/etc/passwd", home_ / "project/innocent.txt");
  const std::string message = refusal({"cat", "innocent.txt"}, home_ / "project");
  EXPECT_NE(message.find("leads to /etc/passwd"), std::string::npos) << message;
}

TEST_F(NamedPathsTest, ALinkedScriptIsNamedByItsTrueFile) {
  scratch_.add("bin/other");
  fs::create_symlink(home_ / "project/src/server.js", scratch_.path() / "bin/link");
  const Plan made = plan({"node", "bin/link"}, scratch_.path());
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
  EXPECT_EQ(made.guest_argv[1], (home_ / "project/src/server.js").string());
}

TEST_F(NamedPathsTest, ADirectoryArgumentGoesInWhole) {
  const Plan made = plan({"npx", "pkg", (scratch_.path() / "data").string()}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, scratch_.path() / "data");
  EXPECT_FALSE(made.mounts[0].request.leave_out_git);
}

TEST_F(NamedPathsTest, NestedPathsBecomeOneMount) {
  const Plan made =
      plan({"node", "project/src/server.js", "project", "project/src", "--x=./project"}, home_);
  ASSERT_EQ(made.mounts.size(), 1U);
  EXPECT_EQ(made.mounts[0].request.path, home_ / "project");
}

TEST_F(NamedPathsTest, AFileOfTmpDoesNotHideTheGuestsTmp) {
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

TEST_F(NamedPathsTest, TooManyPlacesAreRefused) {
  Words argv = {"npx", "pkg"};
  for (int i = 0; i < 9; ++i) {
    const std::string directory = "many/" + std::to_string(i);
    scratch_.add(directory + "/x");
    argv.push_back((scratch_.path() / directory).string());
  }
  EXPECT_NE(refusal(argv).find("at most 8"), std::string::npos);
}

TEST_F(NamedPathsTest, HostileArgumentsAreJustArguments) {
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

TEST_F(NamedPathsTest, AFileThatIsNamedBringsNoNeighbours) {
  scratch_.add("app/package.json", "{}");
  scratch_.add("app/db.sqlite");
  scratch_.add("app/secret.env");
  for (const Words& argv :
       {Words{"npx", "pkg", path("app/db.sqlite")}, Words{"npx", "pkg", "--db", "app/db.sqlite"},
        Words{"node", "-e", "1", "app/db.sqlite"}, Words{"cat", "--db=app/db.sqlite"}}) {
    const Plan made = plan(argv, scratch_.path());
    EXPECT_EQ(goes_in(made), Words{path("app") + ": db.sqlite"});
    EXPECT_EQ(made.mounts[0].guest, path("app"));
    EXPECT_EQ(made.guest_argv.back(), argv.back());
  }
}

TEST_F(NamedPathsTest, ADirectoryInTheFolderOfANamedFileHasItsPlaceThere) {
  scratch_.add("app/db.sqlite");
  scratch_.add("app/files/deep/x");
  const Plan made = plan({"npx", "pkg", "app/files/deep", "app/db.sqlite"}, scratch_.path());
  ASSERT_EQ(made.mounts.size(), 2U);
  EXPECT_EQ(made.mounts[0].guest, path("app"));
  EXPECT_EQ(made.mounts[0].request.folders, Words{"files/deep"});
  EXPECT_EQ(made.mounts[1].guest, path("app/files/deep"));
  EXPECT_EQ(made.guest_argv, (Words{"", "app/files/deep", "app/db.sqlite"}));
}

TEST_F(NamedPathsTest, ALinkThatLeadsOutOfItsFolderIsRefused) {
  scratch_.add("private/key");
  link("../../../private", "home/ana/project/data");
  link(path("private/key"), "home/ana/project/key.txt");
  link("../project", "home/ana/loose/way");
  for (const std::string& argument :
       {std::string("data"), std::string("data/key"), std::string("--root=./data"),
        std::string("key.txt"), (home_ / "project/data").string(), std::string("@key.txt")}) {
    const std::string message = refusal({"npx", "pkg", argument}, home_ / "project");
    EXPECT_NE(message.find(path("private")), std::string::npos) << argument << ": " << message;
    EXPECT_NE(message.find("name that itself"), std::string::npos) << message;
  }
  EXPECT_NE(refusal({"npx", "pkg", "way"}, home_ / "loose"), "");
  EXPECT_NE(refusal({"python3", "key.txt"}, home_ / "project"), "");
}

TEST_F(NamedPathsTest, ALinkedFolderHasTheNameThatWasWritten) {
  scratch_.add("real/sub/x");
  link("real", "named");
  for (const std::string& written : {path("named"), path("named/sub")}) {
    const Plan made = plan({"npx", "pkg", written}, home_);
    ASSERT_EQ(made.mounts.size(), 1U);
    EXPECT_EQ(made.mounts[0].guest, written);
    EXPECT_EQ(made.mounts[0].request.path, fs::canonical(written));
    EXPECT_EQ(made.guest_argv[1], written);
  }
  const Plan relative = plan({"ls", "named", "named/sub/x"}, scratch_.path());
  EXPECT_EQ(relative.workdir, scratch_.path().string());
  EXPECT_EQ(relative.guest_argv, (Words{"ls", "named", "named/sub/x"}));
  const Plan file = plan({"cat", path("named/sub/x")}, home_);
  EXPECT_EQ(file.mounts[0].guest, path("named/sub"));
}

TEST_F(NamedPathsTest, ALinkInACopyStaysALink) {
  scratch_.add("home/ana/project/real/x");
  link("real", "home/ana/project/named");
  const Plan made = plan({"node", "src/server.js", "named"}, home_ / "project");
  EXPECT_EQ(goes_in(made), Words{(home_ / "project").string()});
  EXPECT_EQ(made.guest_argv[2], "named");
}

TEST_F(NamedPathsTest, FindsThePathInEveryFormOfAnArgument) {
  scratch_.add("app/db.sqlite");
  scratch_.add("app/a b.db");
  const struct {
    std::string word;
    const char* file;
  } cases[] = {
      {"--db=app/db.sqlite", "db.sqlite"},
      {"--db=" + path("app/db.sqlite"), "db.sqlite"},
      {"db=app/db.sqlite", "db.sqlite"},
      {"DB_PATH=" + path("app/db.sqlite"), "db.sqlite"},
      {"@app/db.sqlite", "db.sqlite"},
      {"-c" + path("app/db.sqlite"), "db.sqlite"},
      {"file://" + path("app/db.sqlite"), "db.sqlite"},
      {"file:app/db.sqlite?mode=ro", "db.sqlite"},
      {"--url=file://localhost" + path("app/db.sqlite") + "?mode=ro", "db.sqlite"},
      {"file://" + path("app/a%20b.db"), "a b.db"},
  };
  for (const auto& c : cases) {
    const Plan made = plan({"npx", "pkg", c.word}, scratch_.path());
    EXPECT_EQ(goes_in(made), Words{path("app") + ": " + c.file}) << c.word;
    EXPECT_EQ(made.guest_argv[1], c.word);
  }
  const Plan bare = plan({"npx", "pkg", "--db=db.sqlite"}, scratch_.path() / "app");
  EXPECT_EQ(goes_in(bare), Words{path("app") + ": db.sqlite"});
  EXPECT_TRUE(plan({"npx", "pkg", "--mode=app", "x=app", "a+b=app/db.sqlite"}, scratch_.path())
                  .mounts.empty());
}

TEST_F(NamedPathsTest, RewritesOnlyThePathInAnArgument) {
  std::string name = "/tmp/thimble-plan-XXXXXX";
  const int fd = ::mkstemp(name.data());
  ASSERT_GE(fd, 0);
  const Plan made =
      plan({"npx", "pkg", "file://" + name + "?mode=ro", "--db=" + name, "@" + name}, "/");
  ::unlink(name.c_str());
  ::close(fd);
  const std::string inside = "/mnt/thimble/0/" + fs::path(name).filename().string();
  EXPECT_EQ(made.guest_argv,
            (Words{"", "file://" + inside + "?mode=ro", "--db=" + inside, "@" + inside}));
}

TEST_F(NamedPathsTest, SaysWhatDoesNotGoIn) {
  home_ = "/home/somebody";
  const struct {
    Words argv;
    const char* part;  // of the note; empty: there is none
  } cases[] = {
      {{"npx", "pkg", "/tmp"}, "/tmp does not go into the guest as a whole"},
      {{"npx", "pkg", "--root=/srv"}, "/srv does not go into the guest as a whole"},
      {{"npx", "pkg", "/no/such/folder"}, "/no/such/folder does not exist here"},
      {{"npx", "pkg", "--db=./new.sqlite"}, "new.sqlite does not exist here"},
      {{"npx", "pkg", "/sse", "/[a-z]+/g", "word", "https://host/x", "//x/y", "/etc/none", "/"},
       ""},
      {{"sh", "-c", "./no/such"}, ""},
      {{"node", "-e", "/no/such/"}, ""},
  };
  for (const auto& c : cases) {
    const Plan made = plan(c.argv, home_);
    EXPECT_TRUE(made.mounts.empty());
    EXPECT_EQ(made.notes.size(), *c.part == 0 ? 0U : 1U) << c.part;
    const std::string note = made.notes.empty() ? "" : made.notes[0];
    EXPECT_NE(note.find(c.part), std::string::npos) << note;
  }
}

TEST_F(NamedPathsTest, SocketsAreSaid) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  const Plan made = plan({"npx", "pkg", path("pipe")}, home_);
  EXPECT_TRUE(made.mounts.empty());
  EXPECT_EQ(made.notes.size(), 1U);
}

}  // namespace
}  // namespace thimble::image
