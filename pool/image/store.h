// The image store: a directory that several processes share without a server.
//
//   images/<digest>/rootfs.erofs, manifest.json   an image, complete from the moment it is there
//   images/<digest>/inputs.json                   what it was made from
//   images/names/<name>.json                      name -> digest, and the key it was built for
//   images/tmp/<lock>.<pid>/                      a build in progress, owned by who holds the lock
//   images/locks/, images/logs/                   one per name that is being built
//
// Images appear by rename and are checked when they are opened. The cache is a folder of ours or of
// root's to which nobody else may write, and images/ is closed to all others: whoever could put an
// image there would decide what we run (devices/base/owned_folder.h). Nothing here keeps state in
// memory: a Store is only a folder, and may be used by any thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/file_lock.h"
#include "devices/base/owned_folder.h"
#include "devices/result.h"
#include "pool/image/image.h"
#include "pool/image/manifest.h"

namespace thimble::image {

struct StoredName {
  std::string name;
  std::string digest;
  std::string key;  // what the image was built from; another key means: build again
};

class Store {
 public:
  // Below ${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}.
  static Result<Store> open();
  // `cache` is made when missing.
  static Result<Store> open_at(const std::filesystem::path& cache);

  const std::filesystem::path& cache() const { return cache_; }
  std::filesystem::path root() const { return root_.path(); }
  const OwnedFolder& folder() const { return root_; }

  // The image of that name when it was built for `key` and is whole; empty otherwise. An error is
  // of the moment, and no reason to build.
  Result<std::optional<Image>> lookup(const std::string& name, const std::string& key) const;
  // What the image of that name was built from; empty: there is none.
  std::string key_of(const std::string& name) const;
  // By name, by "npm:…" without a version, by what `image ls` says that it contains, or by a digest
  // prefix of at least 8 digits.
  Result<Image> find(std::string_view name_or_digest) const;
  // By exact digest; checks manifest digest, superblock and size, not the whole content.
  FileResult<Image> open_image(const std::string& digest, const std::string& name) const;
  Result<Manifest> manifest(const Image& image) const;
  // Its name, with the version that was found for "latest" or a range.
  std::string title(const Image& image) const;
  // Versions and integrity of all that went in.
  Result<nlohmann::json> inputs(const Image& image) const;
  // Reads all of the image and compares its SHA-256.
  Result<void> verify(const Image& image) const;

  FileResult<std::vector<StoredName>> names() const;  // sorted by name
  // Removes the name, and the image unless another name has it.
  Result<void> remove(std::string_view name_or_digest) const;

  // Moves the finished `staged`/rootfs.erofs into the store, writes its manifest and `inputs` and
  // names it.
  Result<Image> publish(const std::filesystem::path& staged, Manifest manifest,
                        const nlohmann::json& inputs, const std::string& name,
                        const std::string& key) const;
  // When the name was last given to an image: for npm packages, when their version was found out.
  // The start of time when there is none.
  std::filesystem::file_time_type named_at(const std::string& name) const;
  void set_named_at(const std::string& name, std::filesystem::file_time_type time) const;
  // Adds a second name to an image.
  Result<void> set_name(const StoredName& entry) const;

  // Held by the one process that builds `name`; empty while another holds it.
  Result<std::optional<FileLock>> lock(const std::string& name) const;
  // One that another process took for this one.
  FileLock adopt_lock(const std::string& name, Fd file) const;
  // Process id of who does, 0 when unknown.
  pid_t lock_holder(const std::string& name) const;
  // What that process says: begun anew, to be read from its start, or gone.
  Result<Fd> make_log(const std::string& name) const;
  FileResult<Fd> open_log(const std::string& name) const;
  void remove_log(const std::string& name) const;
  std::filesystem::path log_path(const std::string& name) const;  // for messages
  // An empty directory for a build whose lock the caller holds; removes those that dead builders of
  // that name left.
  Result<std::filesystem::path> make_build_directory(const std::string& name) const;
  // Removes what dead builders of other names left, copies of host directories that nobody used for
  // a week, and images that no name has any more and nobody opened within the hour.
  void sweep() const;

 private:
  Store(std::filesystem::path cache, OwnedFolder root)
      : cache_(std::move(cache)), root_(std::move(root)) {}

  FileResult<std::optional<StoredName>> read_name(const std::string& file) const;
  FileResult<bool> is_named(const std::string& digest) const;
  void remove_image(const std::string& digest) const;
  bool unused_for(const std::string& digest, std::chrono::hours grace) const;

  std::filesystem::path cache_;
  OwnedFolder root_;
};

}  // namespace thimble::image
