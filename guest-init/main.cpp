// thimble-init: PID 1 of thimble's guests. Sets the machine up, tells the host that it is there,
// then does what the host says over vsock until the power goes off.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/identity.h"
#include "guest-init/mounts.h"
#include "guest-init/power.h"
#include "guest-init/session.h"
#include "guest-init/transport.h"

namespace thimble::init {
namespace {

constexpr const char* kOomScoreAdj = "/proc/self/oom_score_adj";

bool configure(void*, const Configure& message, Failure& failure) {
  if (!set_identity(message, failure)) return false;
  for (uint32_t i = 0; i < message.mount_count; ++i) {
    if (!mount_extra(message.mounts[i], failure)) return false;
  }
  return true;
}

uint32_t oom_kills(void*) { return count_oom_kills(); }
uint64_t cpu_ms(void*) { return server_cpu_ms(); }

// PID 1 cannot be killed for lack of memory, but it should not be tried either.
void protect_from_oom() {
  const int fd = open(kOomScoreAdj, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, "-1000", 5) < 0) {
    // The kernel spares PID 1 all the same.
  }
  close(fd);
}

// The server's pipes must never land on descriptors 0 to 2, also when there is no console.
void occupy_stdio() {
  int fd = 0;
  do {
    fd = open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= 2);
  if (fd > 2) close(fd);
}

int listen_or_die(uint32_t port) {
  const int fd = listen_vsock(port);
  if (fd >= 0) return fd;
  Failure failure;
  fail(failure, protocol::kStepProtocol, errno, "listen on vsock port %u", port);
  die(failure);
}

void announce_or_die() {
  if (announce_vsock(protocol::kReadyPort)) return;
  Failure failure;
  fail(failure, protocol::kStepProtocol, errno, "tell the host (vsock 2:%u) that the guest is up",
       protocol::kReadyPort);
  die(failure);
}

[[noreturn]] void run() {
  umask(0);
  Failure failure;
  if (!mount_system(failure) || !start_loopback(failure)) die(failure);
  occupy_stdio();
  protect_from_oom();

  Platform platform;
  platform.configure = configure;
  platform.oom_kills = oom_kills;
  platform.cpu_ms = cpu_ms;
  platform.notice = make_server_cgroup();
  platform.child.cgroup_procs = kServerCgroupProcs;
  platform.child.oom_score_adj = kOomScoreAdj;

  static Session session;  // too large for the stack
  const int control = listen_or_die(protocol::kControlPort);
  const int streams = listen_or_die(protocol::kStreamPort);
  session.open(control, streams, platform);
  announce_or_die();
  session.run();
  power_off();
}

}  // namespace
}  // namespace thimble::init

int main() {
  if (getpid() != 1) {
    dprintf(2, "thimble-init: this is the first process of thimble's guests, not a command\n");
    return 2;
  }
  thimble::init::run();
}
