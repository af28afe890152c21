#include "guest-init/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/lookup.h"
#include "guest-init/small_file.h"

namespace thimble::init {

namespace {

using protocol::kStepMount;

struct SystemMount {
  const char* source;
  const char* target;
  const char* fstype;
  unsigned long flags;
  const char* options;
};

constexpr unsigned long kData = MS_NOSUID | MS_NODEV;

// What only needs the final root. /dev and /proc come earlier and are moved.
constexpr SystemMount kLateMounts[] = {
    {"sysfs", "/sys", "sysfs", kData | MS_NOEXEC, nullptr},
    {"tmpfs", "/tmp", "tmpfs", kData, "mode=1777"},
    {"tmpfs", "/run", "tmpfs", kData, "mode=0755"},
    {"tmpfs", "/dev/shm", "tmpfs", kData, "mode=1777"},
    {"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666"},
};

// What udev would add to the kernel's own nodes; shells and node expect them.
constexpr const char* kDeviceLinks[][2] = {
    {"/proc/self/fd", "/dev/fd"},
    {"/proc/self/fd/0", "/dev/stdin"},
    {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"},
};

bool make_directory(const char* path, Failure& failure) {
  if (mkdir(path, 0755) == 0 || errno == EEXIST) return true;
  return fail(failure, kStepMount, errno, "create directory %.200s", path);
}

bool do_mount(const SystemMount& entry, Failure& failure) {
  if (!make_directory(entry.target, failure)) return false;
  if (mount(entry.source, entry.target, entry.fstype, entry.flags, entry.options) == 0) return true;
  return fail(failure, kStepMount, errno, "mount %.60s (%s) on %.100s", entry.source, entry.fstype,
              entry.target);
}

bool move_mount(const char* from, const char* to, Failure& failure) {
  if (!make_directory(to, failure)) return false;
  if (mount(from, to, nullptr, MS_MOVE, nullptr) == 0) return true;
  return fail(failure, kStepMount, errno, "move %s to %s", from, to);
}

// The image below, a tmpfs of half the memory at most above.
// A directory of the image can be renamed (redirect_dir), and all of it has one device number and
// inode numbers that stay (xino).
bool make_root(const char* device, const char* fstype, Layer& layer, Failure& failure) {
  const bool made =
      do_mount({device, "/image", fstype, MS_RDONLY | MS_NODEV, nullptr}, failure) &&
      do_mount({"tmpfs", "/layer", "tmpfs", MS_NODEV, "mode=0755"}, failure) &&
      make_directory("/layer/upper", failure) && make_directory("/layer/work", failure) &&
      do_mount(
          {"overlay", "/newroot", "overlay", MS_NODEV,
           "lowerdir=/image,upperdir=/layer/upper,workdir=/layer/work,redirect_dir=on,xino=on"},
          failure) &&
      move_mount("/dev", "/newroot/dev", failure) && move_mount("/proc", "/newroot/proc", failure);
  if (made) layer.directory = open("/layer", O_PATH | O_DIRECTORY | O_CLOEXEC);
  return made && (layer.directory >= 0 || fail(failure, kStepMount, errno, "open /layer"));
}

// The initramfs cannot be unmounted or pivoted away, only covered.
bool enter_root(Failure& failure) {
  if (chdir("/newroot") == 0 && mount(".", "/", nullptr, MS_MOVE, nullptr) == 0 &&
      chroot(".") == 0 && chdir("/") == 0) {
    return true;
  }
  return fail(failure, kStepMount, errno, "enter the image as root");
}

// The mount's root is the layer's directory: it is to look like the disk's.
bool copy_root(const char* image, const char* upper) {
  struct stat root;
  if (stat(image, &root) < 0 || mkdir(upper, 0700) < 0) return false;
  const timespec times[2] = {root.st_atim, root.st_mtim};
  return chown(upper, root.st_uid, root.st_gid) == 0 && chmod(upper, root.st_mode & 07777) == 0 &&
         utimensat(AT_FDCWD, upper, times, 0) == 0;
}

// The disk goes into the layer, too, where nobody sees it. In the working directory `N`:
bool mount_in_layer(const protocol::Mount& extra, const char* path) {
  const unsigned long flags = extra.flags & ~static_cast<unsigned long>(MS_RDONLY);
  return mkdir("image", 0700) == 0 && mkdir("work", 0700) == 0 &&
         mount(extra.source, "image", extra.fstype, extra.flags, nullptr) == 0 &&
         copy_root("image", "upper") &&
         mount("overlay", path, "overlay", flags,
               "lowerdir=image,upperdir=upper,workdir=work,redirect_dir=on,xino=on") == 0;
}

// By way of the working directory, since no path leads to the layer. Sets errno.
bool mount_layered(const protocol::Mount& extra, const char* path, Layer& layer) {
  char part[16];
  snprintf(part, sizeof part, "%u", layer.mounts++);
  const bool mounted = fchdir(layer.directory) == 0 && mkdir(part, 0700) == 0 && chdir(part) == 0 &&
                       mount_in_layer(extra, path);
  const int error = errno;
  if (chdir("/") < 0) return false;
  errno = error;
  return mounted;
}

// Without swap a server that wants too much memory would make the kernel drop and reread its
// program for minutes. With this it keeps what was used in the last second, and kills when it
// cannot.
void kill_rather_than_thrash() {
  if (!write_file("/sys/kernel/mm/lru_gen/min_ttl_ms", "1000")) {
    // Kernels without it are slower to kill, no more.
  }
}

// Otherwise a thread of the kernel's looks twice a second whether memory could be in better order,
// and a guest that has nothing to do would still not sleep. Who needs a huge page has it made room
// for.
void compact_on_demand_only() {
  if (!write_file("/proc/sys/vm/compaction_proactiveness", "0")) {
    // Kernels without it have no such thread.
  }
}

}  // namespace

bool mount_system(Layer& layer, Failure& failure) {
  if (!do_mount({"devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755"}, failure) ||
      !do_mount({"proc", "/proc", "proc", kData | MS_NOEXEC, nullptr}, failure)) {
    return false;
  }
  char command_line[4096];
  char device[64];
  char fstype[16];
  const size_t size = read_file("/proc/cmdline", command_line, sizeof command_line);
  const Bytes options = {command_line, size};
  if (!find_option(options, "thimble.rootfstype", fstype, sizeof fstype)) strcpy(fstype, "erofs");
  if (find_option(options, "thimble.root", device, sizeof device) &&
      (!make_root(device, fstype, layer, failure) || !enter_root(failure))) {
    return false;
  }
  for (const SystemMount& entry : kLateMounts) {
    if (!do_mount(entry, failure)) return false;
  }
  for (const auto& [target, name] : kDeviceLinks) {
    if (symlink(target, name) < 0 && errno != EEXIST) {
      return fail(failure, kStepMount, errno, "link %s", name);
    }
  }
  kill_rather_than_thrash();
  compact_on_demand_only();
  return true;
}

bool mount_extra(const protocol::Mount& extra, Layer& layer, Failure& failure) {
  char path[sizeof extra.target];
  memcpy(path, extra.target, sizeof path);
  for (char* slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (!make_directory(path, failure)) return false;
    *slash = '/';
  }
  if (!make_directory(path, failure)) return false;
  const bool layered = layer.directory >= 0 && (extra.flags & MS_RDONLY);
  const bool mounted = layered ? mount_layered(extra, path, layer)
                               : mount(extra.source, path, extra.fstype, extra.flags, nullptr) == 0;
  return mounted || fail(failure, kStepMount, errno, "mount %.60s on %.150s", extra.source, path);
}

}  // namespace thimble::init
