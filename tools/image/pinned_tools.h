// The cache's folder of pinned tools (npm.h), npm/pinned. They are started in the jails of builds
// and put into images, root's too: each folder on the way and each file must be ours or root's, and
// none a link (devices/base/owned_folder.h). What is not is refused and left as it is.
#pragma once

#include <filesystem>
#include <string>

#include "devices/base/owned_folder.h"
#include "devices/result.h"
#include "tools/image/npm.h"

namespace thimble::image {

class PinnedTools {
 public:
  // Made when missing. Looks at all that is in it.
  static Result<PinnedTools> open(const std::filesystem::path& cache);

  [[nodiscard]] const std::string& path() const { return folder_.path(); }
  // Takes a tool that was fetched into `fetched`, whose jail is gone. It appears whole, by way of
  // `work`: a folder of ours on the cache's file system, whose owner removes what is left in it.
  [[nodiscard]] Result<void> keep(const PinnedPackage& package,
                                  const std::filesystem::path& fetched,
                                  const std::filesystem::path& work) const;

 private:
  explicit PinnedTools(OwnedFolder folder) : folder_(std::move(folder)) {}

  OwnedFolder folder_;
};

}  // namespace thimble::image
