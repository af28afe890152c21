#include "guest-init/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/lookup.h"

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
bool make_root(const char* device, const char* fstype, Failure& failure) {
  return do_mount({device, "/image", fstype, MS_RDONLY | MS_NODEV, nullptr}, failure) &&
         do_mount({"tmpfs", "/layer", "tmpfs", MS_NODEV, "mode=0755"}, failure) &&
         make_directory("/layer/upper", failure) && make_directory("/layer/work", failure) &&
         do_mount({"overlay", "/root", "overlay", MS_NODEV,
                   "lowerdir=/image,upperdir=/layer/upper,workdir=/layer/work"},
                  failure) &&
         move_mount("/dev", "/root/dev", failure) && move_mount("/proc", "/root/proc", failure);
}

// The initramfs cannot be unmounted or pivoted away, only covered.
bool enter_root(Failure& failure) {
  if (chdir("/root") == 0 && mount(".", "/", nullptr, MS_MOVE, nullptr) == 0 && chroot(".") == 0 &&
      chdir("/") == 0) {
    return true;
  }
  return fail(failure, kStepMount, errno, "enter the image as root");
}

size_t read_file(const char* path, char* buffer, size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = read(fd, buffer, capacity);
  close(fd);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

bool write_file(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const size_t length = strlen(text);
  const bool written = write(fd, text, length) == static_cast<ssize_t>(length);
  return close(fd) == 0 && written;
}

// Without swap a server that wants too much memory would make the kernel drop and reread its
// program for minutes. With this it keeps what was used in the last second, and kills when it
// cannot.
void kill_rather_than_thrash() {
  if (!write_file("/sys/kernel/mm/lru_gen/min_ttl_ms", "1000")) {
    // Kernels without it are slower to kill, no more.
  }
}

}  // namespace

bool mount_system(Failure& failure) {
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
      (!make_root(device, fstype, failure) || !enter_root(failure))) {
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
  return true;
}

bool mount_extra(const protocol::Mount& extra, Failure& failure) {
  char path[sizeof extra.target];
  memcpy(path, extra.target, sizeof path);
  for (char* slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (!make_directory(path, failure)) return false;
    *slash = '/';
  }
  if (!make_directory(path, failure)) return false;
  if (mount(extra.source, path, extra.fstype, extra.flags, nullptr) == 0) return true;
  return fail(failure, kStepMount, errno, "mount %.60s on %.150s", extra.source, path);
}

const char* make_server_cgroup() {
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", kData | MS_NOEXEC, nullptr) < 0) {
    return "this kernel has no cgroup v2: no limits, and deaths for lack of memory go uncounted";
  }
  // One by one: a kernel that lacks one controller refuses the whole line.
  const char* const control = "/sys/fs/cgroup/cgroup.subtree_control";
  const bool memory = write_file(control, "+memory");
  const bool others = write_file(control, "+pids") && write_file(control, "+cpu");
  if (mkdir("/sys/fs/cgroup/server", 0755) < 0) return "the server's cgroup cannot be made";
  if (!memory) return "no memory controller: deaths for lack of memory go uncounted";
  return others ? nullptr : "no pids or cpu controller: those limits do not apply";
}

namespace {

// Digits alone; 0 for anything else and for what does not fit.
uint64_t parse_number(Bytes digits) {
  uint64_t value = 0;
  for (size_t i = 0; i < digits.size; ++i) {
    const char c = digits.data[i];
    if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10U, &value)) return 0;
    if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return 0;
  }
  return value;
}

}  // namespace

uint64_t parse_counter(Bytes file, const char* name) {
  const Bytes key = bytes_of(name);
  const char* at = file.data;
  const char* const end = file.data + file.size;
  while (at < end) {
    const size_t rest = static_cast<size_t>(end - at);
    const void* const newline = memchr(at, '\n', rest);
    const size_t length =
        newline ? static_cast<size_t>(static_cast<const char*>(newline) - at) : rest;
    if (length > key.size + 1 && equal({at, key.size}, key) && at[key.size] == ' ') {
      return parse_number({at + key.size + 1, length - key.size - 1});
    }
    at += length + (newline ? 1 : 0);
  }
  return 0;
}

uint32_t count_oom_kills() {
  char events[512];
  const size_t size = read_file("/sys/fs/cgroup/server/memory.events", events, sizeof events);
  return static_cast<uint32_t>(parse_counter({events, size}, "oom_kill"));
}

uint64_t server_cpu_ms() {
  char stat[1024];
  const size_t size = read_file("/sys/fs/cgroup/server/cpu.stat", stat, sizeof stat);
  return parse_counter({stat, size}, "usage_usec") / 1000;
}

}  // namespace thimble::init
