// What an image is made from, as far as it is known without building.
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/image/request.h"

namespace thimble::image {

// When the stored key differs, the stored image is out of date.
Result<std::string> request_key(const Request& request);

}  // namespace thimble::image
