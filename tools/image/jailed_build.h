// A build from the outside: the folder that it may write, the jailed processes that do the work
// (worker.h) and the fetching for it, the limits that they keep, and what is taken from them when
// they are gone. Opens nothing that a package wrote but the finished image and its report.
#pragma once

#include <chrono>
#include <filesystem>

#include "devices/result.h"
#include "pool/image/host_path.h"
#include "pool/image/progress.h"
#include "pool/image/request.h"
#include "tools/image/jail/limits.h"
#include "tools/image/report.h"

namespace thimble::image {

struct JailedBuildOptions {
  std::filesystem::path cache;  // ${THIMBLE_CACHE}: pinned tools are kept in npm/pinned
  std::filesystem::path work;   // an empty folder, the caller's to remove
  BuildLimits limits;
  Progress progress;
};

// Builds the image. `staged`, a new folder, then holds rootfs.erofs, which belongs to us alone.
// `survey` is of a request's own folder. The caller has one thread.
Result<Report> build_jailed(const JailedBuildOptions& options, const Request& request,
                            const Survey& survey, const std::filesystem::path& staged);

}  // namespace thimble::image
