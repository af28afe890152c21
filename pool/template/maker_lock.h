// Of several processes that would make one template, one does. It holds a file (flock) that goes
// with it: one that stays was left by a maker that was killed, and is taken by the next.
#pragma once

#include <filesystem>
#include <optional>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class MakerLock {
 public:
  // Nothing while another process holds it.
  static Result<std::optional<MakerLock>> take(const std::filesystem::path& path);

  MakerLock(MakerLock&& other) noexcept = default;
  MakerLock& operator=(MakerLock&&) = delete;
  MakerLock(const MakerLock&) = delete;
  MakerLock& operator=(const MakerLock&) = delete;
  ~MakerLock();

 private:
  MakerLock(std::filesystem::path path, Fd held) : path_(std::move(path)), held_(std::move(held)) {}
  std::filesystem::path path_;
  Fd held_;
};

}  // namespace thimble
