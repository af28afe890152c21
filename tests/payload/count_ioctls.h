// How often this program has called ioctl with some request: the test binary is linked with
// --wrap=ioctl.
#pragma once

#include <cstddef>

namespace thimble::test {

// Counts for `request` begin at 0 with this call.
void count_ioctls(unsigned long request);
size_t counted_ioctls();

}  // namespace thimble::test
