// What esbuild says of sources, and whether a bundle made of them may be trusted.
#pragma once

#include <string>
#include <string_view>

namespace thimble::image {

// Empty when there is nothing against the bundle; else why it is not used, for people. A warning
// about how a source is written, with the same meaning bundled or not, is nothing against it.
std::string refuse_report(int status, std::string_view text);

}  // namespace thimble::image
