#include "guest-init/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

namespace thimble::init {

namespace {

using protocol::kStepIdentity;

// Credits the bytes and makes the generator use them at once, so that two clones of one snapshot
// part before anything is drawn.
bool add_entropy(Bytes entropy, Failure& failure) {
  struct {
    int entropy_bits;
    int size;
    char bytes[kMaxEntropy];
  } pool;
  pool.entropy_bits = static_cast<int>(entropy.size * 8);
  pool.size = static_cast<int>(entropy.size);
  memcpy(pool.bytes, entropy.data, entropy.size);
  const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  const bool done =
      fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  return done || fail(failure, kStepIdentity, error, "add entropy");
}

// Without it "localhost" is unknown to glibc. An image's own file stays.
void write_hosts(const char* hostname) {
  mkdir("/etc", 0755);
  const int fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return;
  dprintf(fd, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n", hostname);
  close(fd);
}

// Makes the file anew, so that an image's own is never followed or kept.
bool write_new(const char* path, const char* text, size_t size, Failure& failure) {
  unlink(path);
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  const bool written = fd >= 0 && write(fd, text, size) == static_cast<ssize_t>(size);
  const int error = errno;
  if (fd >= 0) close(fd);
  return written || fail(failure, kStepIdentity, error, "write %s", path);
}

// Init answers for names (names.h), where resolvers ask that are told of no server. An image may
// have come with its builder's servers, which are not to be reached from here.
bool name_resolver(Failure& failure) {
  constexpr const char* kFile = "/etc/resolv.conf";
  constexpr const char* kText = "nameserver 127.0.0.1\n";
  struct stat status;
  if (stat(kFile, &status) < 0 || status.st_size == 0) return true;
  return write_new(kFile, kText, strlen(kText), failure);
}

bool draw(void* bytes, size_t size, Failure& failure) {
  return getrandom(bytes, size, 0) == static_cast<ssize_t>(size) ||
         fail(failure, kStepIdentity, errno, "draw random bytes");
}

// machine-id(5): 32 digits and a newline; the version bits are those of a random UUID.
bool change_machine_id(Failure& failure) {
  uint8_t id[16];
  if (!draw(id, sizeof id, failure)) return false;
  id[6] = (id[6] & 0x0f) | 0x40;
  id[8] = (id[8] & 0x3f) | 0x80;
  char text[34];
  for (size_t i = 0; i < sizeof id; ++i) snprintf(text + 2 * i, 3, "%02x", id[i]);
  text[32] = '\n';
  return write_new("/etc/machine-id", text, 33, failure);
}

// The kernel draws its boot id once; a file bound over it takes its place.
bool change_boot_id(Failure& failure) {
  constexpr const char* kCover = "/run/thimble/boot_id";
  uint8_t id[16];
  if (!draw(id, sizeof id, failure)) return false;
  id[6] = (id[6] & 0x0f) | 0x40;
  id[8] = (id[8] & 0x3f) | 0x80;
  char text[38];
  size_t at = 0;
  for (size_t i = 0; i < sizeof id; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
    snprintf(text + at, 3, "%02x", id[i]);
    at += 2;
  }
  text[at++] = '\n';
  if (!write_new(kCover, text, at, failure)) return false;
  return mount(kCover, "/proc/sys/kernel/random/boot_id", nullptr, MS_BIND, nullptr) == 0 ||
         fail(failure, kStepIdentity, errno, "cover the kernel's boot id");
}

// In place: processes have the file mapped.
bool change_generation(Failure& failure) {
  uint64_t generation = 0;
  if (!draw(&generation, sizeof generation, failure)) return false;
  const int fd = open(kGenerationFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
  const bool done = fd >= 0 && ftruncate(fd, 4096) == 0 &&
                    pwrite(fd, &generation, sizeof generation, 0) == sizeof generation;
  const int error = errno;
  if (fd >= 0) close(fd);
  return done || fail(failure, kStepIdentity, error, "write %s", kGenerationFile);
}

}  // namespace

bool set_clock(uint64_t since_epoch_ns, Failure& failure) {
  const timespec time = {static_cast<time_t>(since_epoch_ns / 1000000000),
                         static_cast<long>(since_epoch_ns % 1000000000)};
  return clock_settime(CLOCK_REALTIME, &time) == 0 ||
         fail(failure, kStepIdentity, errno, "set the clock");
}

bool set_identity(const Configure& message, bool clone, Failure& failure) {
  if (message.entropy.size && !add_entropy(message.entropy, failure)) return false;
  if (message.has_wall_clock && !set_clock(message.wall_clock_ns, failure)) return false;
  const char* const hostname = message.hostname ? message.hostname : "thimble";
  if (sethostname(hostname, strlen(hostname)) < 0) {
    return fail(failure, kStepIdentity, errno, "set the host name %.64s", hostname);
  }
  write_hosts(hostname);
  if (!clone && !name_resolver(failure)) return false;
  mkdir("/run/thimble", 0755);
  return change_machine_id(failure) && change_generation(failure) &&
         (!clone || change_boot_id(failure));
}

bool start_loopback(Failure& failure) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request = {};
  memcpy(request.ifr_name, "lo", sizeof "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool done = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  return done || fail(failure, kStepIdentity, error, "bring up the loopback interface");
}

}  // namespace thimble::init
