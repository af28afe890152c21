// See bundler_report.h. A report has a line "▲ [WARNING] TEXT [NAME]" or "✘ [ERROR] TEXT" for each
// message, and the place in the source below it.
#include "tools/image/bundler_report.h"

#include <algorithm>
#include <array>

namespace thimble::image {
namespace {

// About style: the code does the same wherever it stands.
constexpr std::array<std::string_view, 14> kHarmless = {
    "duplicate-case",         "duplicate-class-member",
    "duplicate-object-key",   "equals-nan",
    "equals-negative-zero",   "equals-new-object",
    "html-comment-in-js",     "impossible-typeof",
    "package.json",           "semicolon-after-return",
    "suspicious-boolean-not", "suspicious-logical-operator",
    "tsconfig.json",          "suspicious-nullish-coalescing",
};

// The last word in brackets of a line.
std::string_view name_of(std::string_view line) {
  const std::size_t open = line.rfind('[');
  if (open == std::string_view::npos || !line.ends_with(']')) return {};
  return line.substr(open + 1, line.size() - open - 2);
}

std::string plain(std::string_view message) {
  constexpr std::string_view kMissing = "Could not resolve ";
  if (message.starts_with(kMissing)) {
    return "it names a module that is not installed: " +
           std::string(message.substr(kMissing.size()));
  }
  return "the bundler says: " + std::string(message);
}

}  // namespace

std::string refuse_report(int status, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    for (const std::string_view kind : {"[ERROR] ", "[WARNING] "}) {
      const std::size_t at = line.find(kind);
      // Behind the mark; what a source says itself is indented.
      if (at > 4 || line.starts_with(' ')) continue;
      const bool harmless =
          kind == "[WARNING] " && std::ranges::find(kHarmless, name_of(line)) != kHarmless.end();
      if (!harmless) return plain(line.substr(at + kind.size()));
    }
  }
  return status == 0 ? std::string() : "the bundler ended with status " + std::to_string(status);
}

}  // namespace thimble::image
