// Tells whether a server has come up and waits: decided by what its threads do in the kernel, not
// by a sleep. A server is settled when, for a while without any processor time,
//   - every thread of every process of it is blocked (interruptible sleep), and
//   - at least one of them waits for its standard input or on a listening socket.
// "Waits for" is read from /proc/PID/task/TID/syscall: read, poll, select and epoll are understood;
// a server that waits in another way (io_uring) is never called settled.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "guest-init/bytes.h"

namespace thimble::init {

// One look at all threads.
struct IdleLook {
  bool blocked = false;   // every thread sleeps
  bool awaits = false;    // one of them waits for stdin or a client
  uint64_t cpu_us = 0;    // processor time of the server so far
  char reason[128] = {};  // why it is not idle: "thread 45 (node) runs"
};

// `processes` is a file with one pid for each line (cgroup.procs); `input` is this process' end of
// the pipe whose other end is the server's stdin.
void look_at_server(const char* processes, int input, IdleLook& look);

// Judges looks that are taken one after another.
class IdleWatch {
 public:
  static constexpr uint64_t kSettleMs = 30;  // so long nothing may have moved
  static constexpr uint64_t kLookMs = 5;     // time between two looks

  void begin() { quiet_ = false; }
  // True once the server has settled.
  bool settled(const IdleLook& look, uint64_t now_ms);

 private:
  bool quiet_ = false;
  uint64_t since_ms_ = 0;
  uint64_t cpu_us_ = 0;
};

}  // namespace thimble::init
