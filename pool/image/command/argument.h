// The path in one word of a command: PATH, --option=PATH, KEY=PATH, @PATH, -xPATH, file://PATH.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace thimble::image {

struct Argument {
  std::string before;             // "--root=", "@", "file://" or nothing
  std::string text;               // the path as written
  std::string after;              // the query of a file: URL
  std::filesystem::path written;  // absolute, normal; links are not followed
};

// The path that exists on the host. After an equals sign, one bare name counts only when it is a
// file: it is more often a value than a directory.
std::optional<Argument> find_path(const std::string& word, const std::filesystem::path& cwd);

// What `word` surely means as a path although nothing is there, absolute; empty: nothing.
std::filesystem::path missing_path(const std::string& word, const std::filesystem::path& cwd);

}  // namespace thimble::image
