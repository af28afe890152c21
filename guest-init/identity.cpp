#include "guest-init/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
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

bool set_clock(uint64_t since_epoch_ns, Failure& failure) {
  const timespec time = {static_cast<time_t>(since_epoch_ns / 1000000000),
                         static_cast<long>(since_epoch_ns % 1000000000)};
  return clock_settime(CLOCK_REALTIME, &time) == 0 ||
         fail(failure, kStepIdentity, errno, "set the clock");
}

// Without it "localhost" is unknown to glibc. An image's own file stays.
void write_hosts(const char* hostname) {
  mkdir("/etc", 0755);
  const int fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return;
  dprintf(fd, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n", hostname);
  close(fd);
}

}  // namespace

bool set_identity(const Configure& message, Failure& failure) {
  if (message.entropy.size && !add_entropy(message.entropy, failure)) return false;
  if (message.has_wall_clock && !set_clock(message.wall_clock_ns, failure)) return false;
  const char* const hostname = message.hostname ? message.hostname : "thimble";
  if (sethostname(hostname, strlen(hostname)) < 0) {
    return fail(failure, kStepIdentity, errno, "set the host name %.64s", hostname);
  }
  write_hosts(hostname);
  return true;
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
