// See count_ioctls.h.
#include "tests/payload/count_ioctls.h"

#include <atomic>
#include <cstdarg>

namespace thimble::test {

namespace {
std::atomic<unsigned long> counted_request{0};
std::atomic<size_t> calls{0};
}  // namespace

void count_one(unsigned long request);
void count_one(unsigned long request) {
  if (request == counted_request) ++calls;
}

void count_ioctls(unsigned long request) {
  calls = 0;
  counted_request = request;
}

size_t counted_ioctls() { return calls; }

}  // namespace thimble::test

// NOLINTBEGIN: names that the linker gives
extern "C" int __real_ioctl(int fd, unsigned long request, ...);
extern "C" int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  thimble::test::count_one(request);
  return __real_ioctl(fd, request, argument);
}
// NOLINTEND
