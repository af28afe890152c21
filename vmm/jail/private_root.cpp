// See private_root.h.
#include "vmm/jail/private_root.h"

#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace thimble {

namespace {

// Every host has this directory, and we could not do without it before.
constexpr const char* kAnyDirectory = "/proc";

}  // namespace

Result<void> enter_private_root() {
  // Nothing that happens here may be seen by the host.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return fail_errno("make mounts private");
  }
  if (::mount("none", kAnyDirectory, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0555,size=4k,nr_inodes=2") != 0) {
    return fail_errno("mount an empty file system");
  }
  if (::chdir(kAnyDirectory) != 0) return fail_errno("enter the empty file system");
  // The old root goes on top of the new one, and is taken off from there.
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    if (::umount2(".", MNT_DETACH) != 0) return fail_errno("let go of the host's file system");
  } else if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0) {
    // The host runs from an initramfs, whose root cannot be exchanged: it is covered instead.
    return fail_errno("change the root directory");
  }
  if (::chdir("/") != 0) return fail_errno("enter the private root");
  return {};
}

}  // namespace thimble
