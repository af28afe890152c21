// See first_exit.h.
#include "tools/bench/programs/first_exit.h"

#include <atomic>
#include <cstdarg>

#include "vmm/linux_kvm.h"

namespace thimble::bench {

namespace {
std::atomic<bool> expected = false;
std::atomic<Clock::time_point> came;
}  // namespace

void expect_exit() {
  came = Clock::time_point{};
  expected = true;
}

Clock::time_point first_exit() { return came; }

// A KVM_RUN that was interrupted (-1) has not been in the guest.
void look_at(unsigned long request, int result);
void look_at(unsigned long request, int result) {
  if (request == KVM_RUN && result == 0 && expected.exchange(false)) came = Clock::now();
}

}  // namespace thimble::bench

// NOLINTBEGIN: names that the linker gives
extern "C" int __real_ioctl(int fd, unsigned long request, ...);
extern "C" int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const int result = __real_ioctl(fd, request, argument);
  thimble::bench::look_at(request, result);
  return result;
}
// NOLINTEND
