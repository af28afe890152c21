#include "guest-init/cgroup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "guest-init/lookup.h"
#include "guest-init/protocol.h"
#include "guest-init/small_file.h"

namespace thimble::init {

namespace {

constexpr const char* kFreeze = "/sys/fs/cgroup/server/cgroup.freeze";
constexpr const char* kEvents = "/sys/fs/cgroup/server/cgroup.events";
// A process in an uninterruptible wait freezes when that ends; nothing here waits for long.
constexpr int kFreezeLimitMs = 5000;

void tell_processes() {
  static char pids[16384];
  read_file(kServerProcesses, pids, sizeof pids);
  for (char* at = pids; *at;) {
    char* end = at;
    const long pid = strtol(at, &end, 10);
    if (end == at) return;
    if (pid > 1) kill(static_cast<pid_t>(pid), SIGURG);
    at = *end == '\n' ? end + 1 : end;
  }
}

}  // namespace

const char* make_server_cgroup() {
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) <
      0) {
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

bool freeze_server(bool frozen, Failure& failure) {
  if (!frozen) tell_processes();
  if (!write_file(kFreeze, frozen ? "1" : "0")) {
    return fail(failure, protocol::kStepFreeze, errno, "write %s", kFreeze);
  }
  char content[256];
  for (int waited = 0; waited < kFreezeLimitMs; ++waited) {
    const size_t size = read_file(kEvents, content, sizeof content);
    if (parse_counter({content, size}, "frozen") == (frozen ? 1U : 0U)) return true;
    poll(nullptr, 0, 1);
  }
  return fail(failure, protocol::kStepFreeze, ETIMEDOUT, "wait for the server to be %s",
              frozen ? "frozen" : "thawed");
}

// Read from the kernel's file only: root in the guest can mount a file of its own over it.
uint32_t count_oom_kills() {
  constexpr const char* kFile = "/sys/fs/cgroup/server/memory.events";
  char events[512];
  struct statfs where;
  if (statfs(kFile, &where) < 0 || where.f_type != CGROUP2_SUPER_MAGIC) return 0;
  const size_t size = read_file(kFile, events, sizeof events);
  return static_cast<uint32_t>(parse_counter({events, size}, "oom_kill"));
}

uint64_t server_cpu_us() {
  char stat[1024];
  const size_t size = read_file("/sys/fs/cgroup/server/cpu.stat", stat, sizeof stat);
  return parse_counter({stat, size}, "usage_usec");
}

}  // namespace thimble::init
