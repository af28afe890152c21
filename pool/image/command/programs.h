// What can be said of a bare program name before a guest is started.
#pragma once

#include <string>
#include <string_view>

namespace thimble::image {

// Why the images that thimble makes by itself cannot run it, and what to do instead, as one line;
// empty when the busybox recipe has it.
std::string why_not_runnable(const std::string& program);

// Whether a library by that name is in every recipe that has glibc.
bool is_in_recipes(std::string_view library);

}  // namespace thimble::image
