// What can be said of a bare program name before a guest is started.
#pragma once

#include <string>

namespace thimble::image {

// Why the images that thimble makes by itself cannot run it, and what to do instead, as one line;
// empty when the busybox recipe has it.
std::string why_not_runnable(const std::string& program);

}  // namespace thimble::image
