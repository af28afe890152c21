// A request as words, for the builder that is another process (ensure.h): file names may hold any
// byte but NUL, so each word ends with one. One description of the fields serves both directions.
#pragma once

#include <string>
#include <string_view>

#include "devices/result.h"
#include "pool/image/request.h"

namespace thimble::image {

std::string request_to_words(const Request& request);

// What is cut short, has too much or is no request is an error.
Result<Request> request_from_words(std::string_view words);

}  // namespace thimble::image
