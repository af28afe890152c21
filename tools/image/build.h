// Builds the image that a request asks for, in this process, and puts it into the store. Callers
// use ensure.h, which holds the lock and lets the work outlive an impatient client.
#pragma once

#include <string>

#include "devices/result.h"
#include "tools/image/image.h"
#include "tools/image/progress.h"
#include "tools/image/request.h"
#include "tools/image/store.h"

namespace thimble::image {

// What an image of this request is made from, as far as it is known without building: when the
// stored key differs, the stored image is out of date.
Result<std::string> request_key(const Request& request);

// The caller holds the lock of request.name and has set umask 022. Leaves nothing behind on errors.
Result<Image> build_image(const Store& store, const Request& request, const std::string& key,
                          const Progress& progress);

}  // namespace thimble::image
