// PID 1 of a guest that is frozen at random moments: one process writes and reads its disk, one
// talks to the host by vsock, one looks at the clocks. Each checks every byte and says so on the
// console: "disk N", "vsock N" and "clock N at MILLISECONDS" as it gets on, "CORRUPT …" when
// something is not what it was.
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr unsigned kPort = 5000;
constexpr size_t kBlock = 16 << 10;
constexpr unsigned kBlocks = 256;
constexpr size_t kChunk = 32 << 10;
constexpr unsigned kReportEvery = 16;

void say(const char* format, unsigned long a, unsigned long b = 0) {
  char line[128];
  snprintf(line, sizeof line, format, a, b);
  if (write(STDOUT_FILENO, line, strlen(line)) < 0) _exit(1);
}

[[noreturn]] void corrupt(const char* what, unsigned long detail) {
  char line[128];
  snprintf(line, sizeof line, "CORRUPT %s at %lu errno %d\n", what, detail, errno);
  if (write(STDOUT_FILENO, line, strlen(line)) < 0) _exit(1);
  for (;;) pause();
}

uint64_t next(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

void fill(void* to, size_t bytes, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(to);
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) words[i] = next(seed);
}

bool holds(const void* from, size_t bytes, uint64_t seed) {
  const auto* words = static_cast<const uint64_t*>(from);
  for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) {
    if (words[i] != next(seed)) return false;
  }
  return true;
}

uint64_t seed_of(unsigned block, unsigned version) {
  return 0x9e3779b97f4a7c15ULL * (block + 1) + 0x100000001b3ULL * version + 1;
}

// Past the page cache, so that every request goes to the device.
[[noreturn]] void load_disk() {
  static unsigned versions[kBlocks];
  const int disk = open("/dev/vda", O_RDWR | O_DIRECT);
  void* buffer = aligned_alloc(4096, kBlock);
  if (disk < 0 || buffer == nullptr) corrupt("disk: open", 0);
  uint64_t random = 88172645463325252ULL;
  for (unsigned long done = 1;; ++done) {
    const auto block = (unsigned)(next(random) % kBlocks);
    const off_t place = (off_t)block * (off_t)kBlock;
    if (next(random) % 2 == 0) {
      fill(buffer, kBlock, seed_of(block, ++versions[block]));
      if (pwrite(disk, buffer, kBlock, place) != (ssize_t)kBlock) corrupt("disk: write", done);
      if (done % 7 == 0 && fsync(disk) != 0) corrupt("disk: flush", done);
    } else if (versions[block] != 0) {
      memset(buffer, 0, kBlock);
      if (pread(disk, buffer, kBlock, place) != (ssize_t)kBlock) corrupt("disk: read", done);
      if (!holds(buffer, kBlock, seed_of(block, versions[block]))) corrupt("disk", done);
    }
    if (done % kReportEvery == 0) say("disk %lu\n", done);
  }
}

int connect_host() {
  for (;;) {
    const int stream = socket(AF_VSOCK, SOCK_STREAM, 0);
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_HOST;
    address.svm_port = kPort;
    if (connect(stream, (sockaddr*)&address, sizeof address) == 0) return stream;
    close(stream);
    usleep(1000);
  }
}

bool send_all(int stream, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t n = send(stream, bytes, size, MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes += n;
    size -= (size_t)n;
  }
  return true;
}

// A stream that ends is no fault: every restore ends them all. Wrong bytes are.
[[noreturn]] void load_vsock() {
  static char sent[kChunk];
  static char got[kChunk];
  uint64_t random = 2463534242ULL;
  unsigned long streams = 0;
  int stream = -1;
  for (unsigned long done = 1;;) {
    if (stream < 0) {
      stream = connect_host();
      ++streams;
    }
    const size_t size = (1 + next(random) % (kChunk / 8)) * 8;
    fill(sent, size, next(random));
    bool alive = send_all(stream, sent, size);
    for (size_t have = 0; alive && have < size;) {
      const ssize_t n = recv(stream, got + have, size - have, 0);
      alive = n > 0;
      if (!alive) break;
      if (memcmp(got + have, sent + have, (size_t)n) != 0) corrupt("vsock", done);
      have += (size_t)n;
    }
    if (!alive) {
      close(stream);
      stream = -1;
      continue;
    }
    if (++done % kReportEvery == 0) say("vsock %lu of stream %lu\n", done, streams);
  }
}

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

// Time never goes back. Whether it leaps is for the host to judge, who knows how long the guest has
// lived.
[[noreturn]] void watch_clocks() {
  uint64_t before = now_ns();
  for (unsigned long done = 1;; ++done) {
    const timespec nap{.tv_sec = 0, .tv_nsec = 10000000};
    nanosleep(&nap, nullptr);
    const uint64_t now = now_ns();
    if (now < before) corrupt("clock: back", before - now);
    before = now;
    if (done % kReportEvery == 0) say("clock %lu at %lu\n", done, now / 1000000);
  }
}

}  // namespace

int main() {
  mount("dev", "/dev", "devtmpfs", 0, nullptr);
  if (fork() == 0) load_disk();
  if (fork() == 0) load_vsock();
  watch_clocks();
}
