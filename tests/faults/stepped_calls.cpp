// Which system calls are steps (stepped.h). Left out is what only looks, waits, or concerns nobody
// but the calling thread: a process that is killed there leaves what it leaves at the next step.
#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>

#include "tests/faults/stepped.h"

namespace thimble::test {

namespace {

constexpr int kFileCalls[] = {
    SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),   SCMP_SYS(rename),    SCMP_SYS(renameat),
    SCMP_SYS(renameat2), SCMP_SYS(unlink),    SCMP_SYS(unlinkat),  SCMP_SYS(rmdir),
    SCMP_SYS(fsync),     SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(pwrite64),
    SCMP_SYS(chmod),     SCMP_SYS(fchmod),    SCMP_SYS(utimensat), SCMP_SYS(flock),
};

constexpr int kOtherCalls[] = {
    SCMP_SYS(open),          SCMP_SYS(openat),
    SCMP_SYS(write),         SCMP_SYS(clone),
    SCMP_SYS(clone3),        SCMP_SYS(fork),
    SCMP_SYS(vfork),         SCMP_SYS(execve),
    SCMP_SYS(exit_group),    SCMP_SYS(kill),
    SCMP_SYS(wait4),         SCMP_SYS(waitid),
    SCMP_SYS(pidfd_open),    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(socket),        SCMP_SYS(socketpair),
    SCMP_SYS(bind),          SCMP_SYS(listen),
    SCMP_SYS(accept4),       SCMP_SYS(connect),
    SCMP_SYS(sendmsg),       SCMP_SYS(sendto),
    SCMP_SYS(shutdown),      SCMP_SYS(close_range),
    SCMP_SYS(pipe2),         SCMP_SYS(eventfd2),
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
    SCMP_SYS(signalfd4),     SCMP_SYS(memfd_create),
    SCMP_SYS(ioctl),         SCMP_SYS(io_uring_setup),
    SCMP_SYS(mount),         SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),    SCMP_SYS(unshare),
    SCMP_SYS(setns),         SCMP_SYS(setsid),
    SCMP_SYS(setresuid),     SCMP_SYS(setresgid),
    SCMP_SYS(setgroups),     SCMP_SYS(capset),
    SCMP_SYS(prctl),         SCMP_SYS(prlimit64),
    SCMP_SYS(chdir),         SCMP_SYS(fchdir),
    SCMP_SYS(dup2),          SCMP_SYS(execveat),
};

bool add(scmp_filter_ctx filter, int call) {
  return seccomp_rule_add(filter, SCMP_ACT_TRACE(0), call, 0) == 0;
}

bool add_all(scmp_filter_ctx filter, Steps steps) {
  for (const int call : kFileCalls) {
    if (!add(filter, call)) return false;
  }
  if (steps == Steps::kFiles) {
    return seccomp_rule_add(filter, SCMP_ACT_TRACE(0), SCMP_SYS(openat), 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT)) == 0;
  }
  for (const int call : kOtherCalls) {
    if (!add(filter, call)) return false;
  }
  // Shared or private, a file's: what memory of its own a process gets is nobody else's.
  return seccomp_rule_add(filter, SCMP_ACT_TRACE(0), SCMP_SYS(mmap), 1,
                          SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, 0)) == 0;
}

}  // namespace

bool stop_at_steps(Steps steps) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  const bool done = filter != nullptr && add_all(filter, steps) && seccomp_load(filter) == 0;
  seccomp_release(filter);
  return done;
}

}  // namespace thimble::test
