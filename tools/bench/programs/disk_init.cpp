// PID 1 of the disk figures: reads /dev/vda past the page cache, 4 KiB at random places and then
// 1 MiB after 1 MiB, and says when each part begins and ends. The counts are in figures/disk.py
// too.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr unsigned kWarmUp = 32;
constexpr unsigned kRandomReads = 512;
constexpr unsigned kSequentialReads = 48;
constexpr size_t kSmall = 4096;
constexpr size_t kLarge = 1 << 20;

void say(const char* text) {
  if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(1);
}

[[noreturn]] void give_up(const char* what) {
  char line[128];
  snprintf(line, sizeof line, "disk-failed: %s: %s\n", what, strerror(errno));
  say(line);
  for (;;) pause();
}

void read_random(int disk, char* buffer, uint64_t size, unsigned count) {
  uint64_t state = 0x9e3779b97f4a7c15;
  for (unsigned i = 0; i < count; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    const uint64_t block = (state >> 33) % (size / kSmall);
    if (pread(disk, buffer, kSmall, (off_t)(block * kSmall)) != (ssize_t)kSmall) give_up("read");
  }
}

}  // namespace

int main() {
  mkdir("/dev", 0755);
  if (mount("dev", "/dev", "devtmpfs", 0, "") != 0) give_up("mount /dev");
  const int disk = open("/dev/vda", O_RDONLY | O_DIRECT);
  uint64_t size = 0;
  if (disk < 0 || ioctl(disk, BLKGETSIZE64, &size) != 0) give_up("open /dev/vda");
  void* memory = mmap(nullptr, kLarge, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) give_up("map a buffer");
  char* buffer = static_cast<char*>(memory);

  read_random(disk, buffer, size, kWarmUp);
  say("random-begins\n");
  read_random(disk, buffer, size, kRandomReads);
  say("random-ends\n");
  for (unsigned i = 0; i < kSequentialReads; ++i) {
    if (pread(disk, buffer, kLarge, (off_t)(i * kLarge)) != (ssize_t)kLarge) give_up("read 1 MiB");
  }
  say("sequential-ends\n");
  for (;;) pause();
}
