// Mount points of extra disks, tried in a mount namespace of the test's own.
#include "guest-init/mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

namespace thimble::init {
namespace {

// Runs the body in a child with a private tmpfs on /mnt; true when the body was.
template <class Body>
testing::AssertionResult in_namespace(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
        mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) < 0) {
      _exit(77);
    }
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "status " << status;
}

protocol::Mount tmpfs_on(const char* target) {
  protocol::Mount mount = {};
  std::string_view("tmpfs").copy(mount.source, sizeof mount.source - 1);
  std::string_view("tmpfs").copy(mount.fstype, sizeof mount.fstype - 1);
  std::string_view(target).copy(mount.target, sizeof mount.target - 1);
  mount.flags = MS_RDONLY;
  return mount;
}

class ExtraMount : public testing::Test {
 protected:
  void SetUp() override {
    if (!in_namespace([] { return true; })) GTEST_SKIP() << "mount namespaces need root";
  }
};

TEST_F(ExtraMount, MakesItsMountPointWithAllParents) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    return mount_extra(tmpfs_on("/mnt/a/b/c"), failure) && access("/mnt/a/b/c", W_OK) < 0 &&
           errno == EROFS;
  }));
}

TEST_F(ExtraMount, SaysWhatCouldNotBeMountedWhere) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    protocol::Mount mount = tmpfs_on("/mnt/a");
    std::string_view("nosuchfs").copy(mount.fstype, sizeof mount.fstype - 1);
    return !mount_extra(mount, failure) && failure.error == ENODEV &&
           failure.step == protocol::kStepMount &&
           !std::strcmp(failure.text, "mount tmpfs on /mnt/a");
  }));
}

TEST_F(ExtraMount, AFileInTheWayIsAnError) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    close(creat("/mnt/file", 0600));
    return !mount_extra(tmpfs_on("/mnt/file/below"), failure) && failure.error == ENOTDIR;
  }));
}

}  // namespace
}  // namespace thimble::init
