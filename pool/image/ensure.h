// "Have this image": uses what the store has, otherwise builds it in a detached process that goes
// on when the waiting client is killed, while this process waits and passes the progress on. When
// somebody else already builds the same image, waits for that.
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/image.h"
#include "pool/image/progress.h"
#include "pool/image/request.h"
#include "pool/image/store.h"

namespace thimble::image {

enum class Refresh {
  kNo,   // an image that is there will do
  kYes,  // build again: newer versions of an npm package, a changed machine
};

// What builds (tools/image/builder.h): by default this program itself. It gets the store's cache
// and the key as last arguments.
struct BuilderProgram {
  std::string file = "/proc/self/exe";
  std::vector<std::string> arguments = {"thimble", "build-image"};  // from argv[0] on
};
// In the builder: the words of the request (request_words.h), and the lock of its name.
inline constexpr int kBuilderRequest = 3;
inline constexpr int kBuilderLock = 4;

struct EnsureOptions {
  Progress progress;
  Refresh refresh = Refresh::kNo;
  BuilderProgram builder = {};
};

// May take minutes: the calling thread waits. Any thread may call. Writes nothing itself; the
// builder has its own session, this process's environment, and a log file in the store as stderr.
Result<Image> ensure_image(const Store& store, const Request& request,
                           const EnsureOptions& options);

}  // namespace thimble::image
