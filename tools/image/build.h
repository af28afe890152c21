// Builds the image that a request asks for, in this process, and puts it into the store. Callers
// use ensure.h, which holds the lock and lets the work outlive an impatient client.
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/image/image.h"
#include "pool/image/progress.h"
#include "pool/image/request.h"
#include "pool/image/store.h"

namespace thimble::image {

// The caller holds the lock of request.name and has set umask 022. Leaves nothing behind on errors.
Result<Image> build_image(const Store& store, const Request& request, const std::string& key,
                          const Progress& progress);

}  // namespace thimble::image
