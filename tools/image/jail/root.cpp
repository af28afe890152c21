// See root.h. The new tree grows on top of /proc, which every host has and no mount comes from.
#include "tools/image/jail/root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr const char* kBase = "/proc";
constexpr unsigned long kBaseFlags = MS_NOSUID | MS_NODEV;

fs::path below_base(const fs::path& place) { return kBase / place.relative_path(); }

// Restricts a mount and all below it: flags that the host has set stay.
Result<void> restrict_mount(const fs::path& place, std::uint64_t attributes) {
  mount_attr change{};
  change.attr_set = attributes;
  if (::mount_setattr(AT_FDCWD, place.c_str(), AT_RECURSIVE, &change, sizeof change) != 0) {
    return fail_errno("restrict the mount " + place.string());
  }
  return {};
}

// A mount needs something to be mounted on.
Result<void> make_place(const fs::path& from, const fs::path& place) {
  struct stat status{};
  if (::stat(from.c_str(), &status) != 0) return fail_errno("look at " + from.string());
  if (S_ISDIR(status.st_mode)) return make_directories(place);
  if (Result<void> made = make_directories(place.parent_path()); !made) return made;
  return write_file(place, "");
}

Result<void> bind(const fs::path& from, const fs::path& to, std::uint64_t attributes) {
  const fs::path place = below_base(to);
  if (Result<void> made = make_place(from, place); !made) return made;
  if (::mount(from.c_str(), place.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno("mount " + from.string());
  }
  return restrict_mount(place, attributes);
}

Result<void> add_files(const RootTree& tree) {
  for (const auto& [place, content] : tree.files) {
    const fs::path file = below_base(place);
    Result<void> done = make_directories(file.parent_path());
    if (done) done = write_file(file, content);
    if (!done) return done;
  }
  for (const auto& [place, target] : tree.links) {
    const fs::path link = below_base(place);
    Result<void> done = make_directories(link.parent_path());
    if (done) done = make_symlink(target, link);
    if (!done) return done;
  }
  return {};
}

Result<void> add_devices() {
  for (const char* device :
       {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}) {
    const Result<void> done = bind(device, device, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (!done) return done;
  }
  return make_symlink("/proc/self/fd", below_base("/dev/fd"));
}

Result<void> mount_new(const char* type, const char* place, unsigned long flags,
                       const char* options) {
  const fs::path at = below_base(place);
  if (Result<void> made = make_directories(at); !made) return made;
  if (::mount(type, at.c_str(), type, flags | MS_NOSUID | MS_NODEV, options) != 0) {
    return fail_errno(std::string("mount ") + type + " on the jail's " + place);
  }
  return {};
}

Result<void> fill(const RootTree& tree) {
  // First: what is to be mounted may lie below the host's /tmp.
  Result<void> done = mount_new("tmpfs", "/tmp", 0, "mode=1777,size=256m,nr_inodes=16k");
  if (!done) return done;
  for (const JailMount& mount : tree.mounts) {
    const std::uint64_t read_only = mount.writable ? 0 : MOUNT_ATTR_RDONLY;
    done = bind(mount.from, mount.to, read_only | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!done) return done;
  }
  done = add_files(tree);
  if (done) done = add_devices();
  if (done) done = mount_new("proc", "/proc", MS_RDONLY | MS_NOEXEC, nullptr);
  return done;
}

// As a VMM's private root is entered (vmm/jail/private_root.cpp).
Result<void> enter_base() {
  if (::chdir(kBase) != 0) return fail_errno("enter the jail's root");
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    if (::umount2(".", MNT_DETACH) != 0) return fail_errno("let go of the host's file system");
  } else if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0) {
    return fail_errno("change the root directory");
  }
  if (::chdir("/") != 0) return fail_errno("enter the jail's root");
  return {};
}

}  // namespace

Result<void> enter_root(const RootTree& tree) {
  ::umask(022);
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return fail_errno("make mounts private");
  }
  if (::mount("tmpfs", kBase, "tmpfs", kBaseFlags, "mode=0755,size=32m,nr_inodes=16k") != 0) {
    return fail_errno("mount the jail's root");
  }
  if (Result<void> done = fill(tree); !done) return done;
  if (::mount(nullptr, kBase, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | kBaseFlags, nullptr) !=
      0) {
    return fail_errno("make the jail's root read-only");
  }
  return enter_base();
}

}  // namespace thimble::image
