// See terminal.h.
#include "tools/cli/terminal.h"

#include <unistd.h>

#include <utility>

namespace thimble::cli {

std::optional<RawTerminal> RawTerminal::enter(int fd) {
  termios before{};
  if (::tcgetattr(fd, &before) != 0) return std::nullopt;
  termios raw = before;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSANOW, &raw) != 0) return std::nullopt;
  return RawTerminal(fd, before);
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), before_(other.before_) {}

RawTerminal::~RawTerminal() {
  if (fd_ >= 0) ::tcsetattr(fd_, TCSADRAIN, &before_);
}

size_t EscapeFilter::filter(char* bytes, size_t length) {
  size_t kept = 0;
  for (size_t i = 0; i < length && !quit_; ++i) {
    const char c = bytes[i];
    if (!escaped_ && c == kEscape) {
      escaped_ = true;
      continue;
    }
    if (escaped_ && c == 'x') {
      quit_ = true;
      break;
    }
    escaped_ = false;
    bytes[kept++] = c;
  }
  return kept;
}

}  // namespace thimble::cli
