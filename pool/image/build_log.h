// The log by which a detached builder tells those who wait for it what it does. Its text has names
// and messages of strangers' packages in it, so its records cannot be told by their text: each is
// one line, of a letter for its kind and the text made printable, whatever the text is.
#pragma once

#include <string>
#include <string_view>

namespace thimble::image {

struct BuildRecord {
  enum class Kind : char {
    kProgress = 'p',
    kError = 'e',  // the build failed: the last record
  };
  Kind kind = Kind::kProgress;
  std::string text;
};

// With the newline.
std::string to_line(BuildRecord::Kind kind, std::string_view text);

// A line without its newline. What is no record was written by something else that has the log as
// its stderr: it is progress, and printable.
BuildRecord parse_record(std::string_view line);

}  // namespace thimble::image
