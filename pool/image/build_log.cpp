// See build_log.h.
#include "pool/image/build_log.h"

#include "devices/printable.h"

namespace thimble::image {

namespace {

constexpr std::size_t kMaxText = 4096;

}  // namespace

std::string to_line(BuildRecord::Kind kind, std::string_view text) {
  return std::string(1, static_cast<char>(kind)) + " " + printable(text, kMaxText) + "\n";
}

BuildRecord parse_record(std::string_view line) {
  const bool is_record = line.size() >= 2 && line[1] == ' ';
  const char kind = is_record ? line[0] : '\0';
  const std::string_view text = line.substr(kind == 'e' || kind == 'p' ? 2 : 0);
  return {kind == 'e' ? BuildRecord::Kind::kError : BuildRecord::Kind::kProgress,
          printable(text, kMaxText)};
}

}  // namespace thimble::image
