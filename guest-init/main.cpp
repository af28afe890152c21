// thimble-init: PID 1 of thimble's guests. Sets the machine up, tells the host that it is there,
// then does what the host says over vsock until the power goes off.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/cgroup.h"
#include "guest-init/identity.h"
#include "guest-init/limits.h"
#include "guest-init/mounts.h"
#include "guest-init/names.h"
#include "guest-init/power.h"
#include "guest-init/runtime.h"
#include "guest-init/session.h"
#include "guest-init/transport.h"

namespace thimble::init {
namespace {

constexpr const char* kOomScoreAdj = "/proc/self/oom_score_adj";

// The first host that configures this guest has booted it; every further one has cloned it.
struct Guest {
  bool configured = false;
  Layer layer;
};

bool configure(void* context, const Configure& message, Failure& failure) {
  auto* const guest = static_cast<Guest*>(context);
  if (!set_identity(message, guest->configured, failure)) return false;
  guest->configured = true;
  for (uint32_t i = 0; i < message.mount_count; ++i) {
    if (!mount_extra(message.mounts[i], guest->layer, failure)) return false;
  }
  return true;
}

bool set_wall_clock(void*, uint64_t since_epoch_ns, Failure& failure) {
  return set_clock(since_epoch_ns, failure);
}

uint32_t oom_kills(void*) { return count_oom_kills(); }
uint64_t cpu_ms(void*) { return server_cpu_us() / 1000; }

bool freeze(void*, bool frozen, Failure& failure) { return freeze_server(frozen, failure); }

void look(void*, int input, IdleLook& found) {
  look_at_server(kServerProcesses, input, found);
  found.cpu_us = server_cpu_us();  // finer than what the threads' own statistics say
}

bool unreseeded(void*, char* who, size_t capacity) {
  return find_unreseeded(kServerProcesses, who, capacity);
}

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
  static Guest guest;
  Failure failure;
  if (!mount_system(guest.layer, failure) || !start_loopback(failure)) die(failure);
  occupy_stdio();
  protect_from_oom();
  set_limits_of_all();

  Platform platform;
  platform.context = &guest;
  platform.freeze = freeze;
  platform.look = look;
  platform.find_unreseeded = unreseeded;
  platform.configure = configure;
  platform.set_clock = set_wall_clock;
  platform.oom_kills = oom_kills;
  platform.cpu_ms = cpu_ms;
  platform.notice = make_server_cgroup();
  platform.names = open_names();
  platform.child.cgroup_procs = kServerProcesses;
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
