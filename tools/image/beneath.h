// Files below one folder, by descriptor: whatever a name says, be it absolute, with "..", or by way
// of a symbolic link, nothing outside the folder is read or written (openat2(2)). For trees that
// strangers wrote, where a path is only a wish.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"
#include "pool/image/files.h"

namespace thimble::image {

// Names are relative to the folder. Every function fails where a part of the name is a symbolic
// link, be it one that stays inside: npm's packages have none.
class Folder {
 public:
  // The path itself is taken at its word: it is ours.
  static Result<Folder> open(const std::filesystem::path& path);

  // A regular file of at most `limit` bytes.
  Result<std::string> read(const std::string& name, std::uint64_t limit = 64 << 20) const;
  // Puts a new file in the place of that name, which keeps whatever else it was linked to as it is.
  Result<void> replace(const std::string& name, std::string_view text) const;
  // Of a regular file.
  Result<void> set_mode(const std::string& name, mode_t mode) const;
  // Of the regular files in a folder, not led by a dot, sorted; at most `limit`.
  Result<std::vector<std::string>> files_in(const std::string& name, std::size_t limit) const;
  // Descriptor of a regular file, open for reading. A FIFO or a device is not waited for.
  Result<Descriptor> open_regular(const std::string& name) const;

 private:
  Folder(std::filesystem::path path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  std::string shown(const std::string& name) const { return (path_ / name).string(); }
  Descriptor open_beneath(const std::string& name, int flags) const;

  std::filesystem::path path_;
  Descriptor descriptor_;
};

// Whether a name, read as text, stays below where it starts: relative, not empty, without "..".
bool is_inner_name(std::string_view name);

}  // namespace thimble::image
