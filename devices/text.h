// printf into a std::string, checked by the compiler. (g++ 12 has no <format>, and the VMM keeps to
// few libraries.)
#pragma once

#include <string>

namespace thimble {

[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...);

}  // namespace thimble
