// Mount points of extra disks, tried in a mount namespace of the test's own.
#include "guest-init/mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
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
    Layer none;
    return mount_extra(tmpfs_on("/mnt/a/b/c"), none, failure) && access("/mnt/a/b/c", W_OK) < 0 &&
           errno == EROFS;
  }));
}

TEST_F(ExtraMount, SaysWhatCouldNotBeMountedWhere) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    Layer none;
    protocol::Mount mount = tmpfs_on("/mnt/a");
    std::string_view("nosuchfs").copy(mount.fstype, sizeof mount.fstype - 1);
    return !mount_extra(mount, none, failure) && failure.error == ENODEV &&
           failure.step == protocol::kStepMount &&
           !std::strcmp(failure.text, "mount tmpfs on /mnt/a");
  }));
}

TEST_F(ExtraMount, AFileInTheWayIsAnError) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    Layer none;
    close(creat("/mnt/file", 0600));
    return !mount_extra(tmpfs_on("/mnt/file/below"), none, failure) && failure.error == ENOTDIR;
  }));
}

// A layer as init has it. Overlays over it cannot be made everywhere.
bool prepare_layer(Layer& layer) {
  if (mkdir("/mnt/layer", 0755) < 0 || mount("tmpfs", "/mnt/layer", "tmpfs", 0, nullptr) < 0) {
    return false;
  }
  layer.directory = open("/mnt/layer", O_PATH | O_DIRECTORY | O_CLOEXEC);
  return mkdir("/mnt/layer/l", 0755) == 0 && mkdir("/mnt/layer/u", 0755) == 0 &&
         mkdir("/mnt/layer/w", 0755) == 0 && mkdir("/mnt/t", 0755) == 0 &&
         mount("overlay", "/mnt/t", "overlay", 0,
               "lowerdir=/mnt/layer/l,upperdir=/mnt/layer/u,workdir=/mnt/layer/w,redirect_dir=on,"
               "xino=on") == 0;
}

class LayeredMount : public ExtraMount {
 protected:
  void SetUp() override {
    ExtraMount::SetUp();
    const bool possible = !IsSkipped() && in_namespace([] {
      Layer layer;
      return prepare_layer(layer);
    });
    if (!possible) GTEST_SKIP() << "this kernel has no overlay over tmpfs";
  }
};

TEST_F(LayeredMount, AReadOnlyDiskCanBeWrittenAndLooksAsItIs) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    Layer layer;
    struct stat root;
    return prepare_layer(layer) && mount_extra(tmpfs_on("/mnt/a/b"), layer, failure) &&
           stat("/mnt/a/b", &root) == 0 && (root.st_mode & 07777) == 01777 &&
           close(creat("/mnt/a/b/new", 0600)) == 0 && access("/mnt/layer/0/upper/new", F_OK) == 0 &&
           access("/mnt/layer/0/image/new", F_OK) < 0;
  }));
}

TEST_F(LayeredMount, EachHasItsOwnPartAndTheWorkingDirectoryIsTheRootAgain) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    Layer layer;
    char here[8];
    return prepare_layer(layer) && mount_extra(tmpfs_on("/mnt/a"), layer, failure) &&
           mount_extra(tmpfs_on("/mnt/b"), layer, failure) && layer.mounts == 2 &&
           close(creat("/mnt/a/of-a", 0600)) == 0 && access("/mnt/b/of-a", F_OK) < 0 &&
           getcwd(here, sizeof here) && !std::strcmp(here, "/");
  }));
}

TEST_F(LayeredMount, SaysWhatCouldNotBeMountedWhere) {
  EXPECT_TRUE(in_namespace([] {
    Failure failure;
    Layer layer;
    protocol::Mount mount = tmpfs_on("/mnt/a");
    std::string_view("nosuchfs").copy(mount.fstype, sizeof mount.fstype - 1);
    return prepare_layer(layer) && !mount_extra(mount, layer, failure) && failure.error == ENODEV &&
           !std::strcmp(failure.text, "mount tmpfs on /mnt/a");
  }));
}

}  // namespace
}  // namespace thimble::init
