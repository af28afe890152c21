// A lock file held by flock(2): who holds it builds an image, and whoever dies loses it. The file
// holds the owner's process id for messages and is unlinked on release.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>

#include "devices/result.h"
#include "tools/image/files.h"

namespace thimble::image {

class FileLock {
 public:
  // Empty when another process holds it.
  static Result<std::optional<FileLock>> try_take(const std::filesystem::path& path);

  FileLock(FileLock&&) noexcept = default;
  FileLock& operator=(FileLock&&) noexcept = default;
  ~FileLock();

  int fd() const { return file_.get(); }
  // Writes this process's id into the file: after a fork the owner is another one.
  void record_owner();
  // Closes this process's copy and leaves the lock to the child that inherited it.
  void leave_to_child();

 private:
  FileLock(std::filesystem::path path, Descriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  std::filesystem::path path_;
  Descriptor file_;
};

// Process id recorded in a lock file, 0 when unknown.
pid_t lock_owner(const std::filesystem::path& path);

}  // namespace thimble::image
