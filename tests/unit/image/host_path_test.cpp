// Surveying a directory of the host before it is copied.
#include "pool/image/host_path.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

Request host_path(const fs::path& path) {
  Request request;
  request.kind = Request::Kind::kHostPath;
  request.path = path;
  return request;
}

std::string fingerprint(const Scratch& scratch) {
  return survey_host_path(host_path(scratch.path()))->fingerprint;
}

TEST(HostPathTest, TheFingerprintStaysWhileNothingChanges) {
  const Scratch scratch;
  scratch.add("a/b");
  EXPECT_EQ(fingerprint(scratch), fingerprint(scratch));
}

TEST(HostPathTest, TheFingerprintSeesEveryKindOfChange) {
  const Scratch scratch;
  const fs::path file = scratch.add("a/b", "1");
  std::string before = fingerprint(scratch);
  auto changed = [&] {
    const std::string now = fingerprint(scratch);
    const bool differs = now != before;
    before = now;
    return differs;
  };
  ASSERT_TRUE(write_file(file, "2"));
  EXPECT_TRUE(changed()) << "content of the same size";
  ::chmod(file.c_str(), 0755);
  EXPECT_TRUE(changed()) << "mode";
  scratch.add("a/c");
  EXPECT_TRUE(changed()) << "new file";
  fs::rename(scratch.path() / "a/c", scratch.path() / "a/d");
  EXPECT_TRUE(changed()) << "name";
  fs::create_directory(scratch.path() / "empty");
  EXPECT_TRUE(changed()) << "empty directory";
}

TEST(HostPathTest, LinksAreNotFollowed) {
  const Scratch scratch;
  scratch.add("a", "12345");
  fs::create_symlink("/", scratch.path() / "root");
  fs::create_symlink(".", scratch.path() / "loop");
  const Result<Survey> survey = survey_host_path(host_path(scratch.path()));
  ASSERT_TRUE(survey);
  EXPECT_EQ(survey->bytes, 5U);
  EXPECT_EQ(survey->files, 3U);
}

TEST(HostPathTest, LinksThatLeadOutAreNamed) {
  const Scratch scratch;
  scratch.add("p/a/file");
  scratch.add("p/venv/pyvenv.cfg");
  scratch.add("p/venv/bin/x");
  fs::create_symlink("file", scratch.path() / "p/a/inside");
  fs::create_symlink("../../b/file", scratch.path() / "p/a/outside");
  fs::create_symlink("/usr/bin/env", scratch.path() / "p/a/system");
  fs::create_symlink("/opt/python/bin/python3", scratch.path() / "p/venv/bin/python");
  const Request request = host_path(scratch.path() / "p");
  EXPECT_EQ(links_that_lead_out(request, *survey_host_path(request)),
            std::vector<std::string>{"a/outside -> ../../b/file"});
}

TEST(HostPathTest, ALinkAndAFolderMakeACopyOfNothingElse) {
  Request request = host_path("/no/such/folder");
  request.links["python3"] = "/usr/bin/python3";
  const Result<Survey> one = survey_host_path(request);
  ASSERT_TRUE(one) << one.error().message;
  request.folders = {"deep/er"};
  EXPECT_NE(survey_host_path(request)->fingerprint, one->fingerprint);
}

TEST(HostPathTest, PipesAndGitAreLeftOut) {
  const Scratch scratch;
  scratch.add(".git/config");
  scratch.add("deep/.git/config");
  ASSERT_EQ(::mkfifo((scratch.path() / "pipe").c_str(), 0600), 0);
  Request request = host_path(scratch.path());
  request.leave_out_git = true;
  const Result<Survey> survey = survey_host_path(request);
  ASSERT_TRUE(survey);
  EXPECT_EQ(survey->left_out, (std::vector<std::string>{".git", "pipe"}));
}

TEST(HostPathTest, OfSingleFilesNothingElseIsSeen) {
  const Scratch scratch;
  scratch.add("wanted", "1");
  Request request = host_path(scratch.path());
  request.only = {"wanted"};
  const std::string before = survey_host_path(request)->fingerprint;
  scratch.add("other/file");
  const Result<Survey> survey = survey_host_path(request);
  EXPECT_EQ(survey->fingerprint, before);
  EXPECT_EQ(survey->files, 1U);
}

TEST(HostPathTest, AFileOrNothingIsRefused) {
  const Scratch scratch;
  EXPECT_FALSE(survey_host_path(host_path(scratch.add("file"))));
  EXPECT_FALSE(survey_host_path(host_path(scratch.path() / "missing")));
}

}  // namespace
}  // namespace thimble::image
