// "Have this image": uses what the store has, otherwise builds it in a detached process that goes
// on when the waiting client is killed, while this process waits and passes the progress on. When
// somebody else already builds the same image, waits for that.
#pragma once

#include "devices/result.h"
#include "tools/image/image.h"
#include "tools/image/progress.h"
#include "tools/image/request.h"
#include "tools/image/store.h"

namespace thimble::image {

enum class Refresh {
  kNo,   // an image that is there will do
  kYes,  // build again: newer versions of an npm package, a changed machine
};

// Forks: call it while this process has one thread. Writes nothing itself; the detached builder
// has its own session, and /dev/null and a log file in the store for its standard streams.
Result<Image> ensure_image(const Store& store, const Request& request, const Progress& progress,
                           Refresh refresh = Refresh::kNo);

}  // namespace thimble::image
