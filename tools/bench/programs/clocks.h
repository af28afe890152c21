// The two clocks of every figure, as programs in the box read them.
#pragma once

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace thimble::bench {

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

inline int64_t clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Nanoseconds that tasks have run on the box's only processor; the idle task does not count. A task
// is charged when it gives the processor up, so the present slice of the asking one is not in it.
inline int64_t busy_ns() {
  char buffer[512];
  const int fd = ::open("/proc/schedstat", O_RDONLY | O_CLOEXEC);
  const ssize_t n = fd < 0 ? -1 : ::read(fd, buffer, sizeof buffer - 1);
  if (fd >= 0) ::close(fd);
  if (n <= 0) give_up("read /proc/schedstat: this kernel has none");
  buffer[n] = 0;
  const char* cpu = std::strstr(buffer, "cpu0 ");
  long long run = 0;
  if (cpu == nullptr || std::sscanf(cpu, "cpu0 %*u %*u %*u %*u %*u %*u %lld", &run) != 1) {
    give_up("/proc/schedstat: not understood");
  }
  return run;
}

struct Clocks {
  int64_t clock = 0;  // CLOCK_MONOTONIC
  int64_t busy = 0;   // busy_ns()

  static Clocks now() { return {clock_ns(), busy_ns()}; }
  friend Clocks operator-(const Clocks& a, const Clocks& b) {
    return {a.clock - b.clock, a.busy - b.busy};
  }
};

}  // namespace thimble::bench
