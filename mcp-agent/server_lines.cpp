// See server_lines.h.
#include "mcp-agent/server_lines.h"

namespace thimble {

namespace {

constexpr std::string_view kName = "thimble";
constexpr std::string_view kMark = "(server)";
constexpr size_t kOther = SIZE_MAX;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

bool ServerLines::is_fake_before(uint8_t byte) const {
  return matched_ == kName.size() && escape_ == Escape::kNone && byte == ':';
}

// Controls are not seen, and do not make another line of it.
void ServerLines::advance(uint8_t byte) {
  in_line_ = byte != '\n';
  if (byte == '\n' || byte == '\r') {
    matched_ = 0;
    escape_ = Escape::kNone;
  } else if (byte == 0x1b) {
    escape_ = Escape::kBegun;
  } else if (escape_ == Escape::kBegun) {
    escape_ = byte == '[' ? Escape::kParameters : Escape::kNone;
  } else if (escape_ == Escape::kParameters) {
    if (byte >= 0x40 && byte <= 0x7e) escape_ = Escape::kNone;
  } else if (byte >= 0x20 && byte != 0x7f) {
    const bool goes_on = matched_ < kName.size() && byte == static_cast<uint8_t>(kName[matched_]);
    matched_ = goes_on ? matched_ + 1 : kOther;
  }
}

std::span<const uint8_t> ServerLines::next(std::span<const uint8_t> waiting) const {
  ServerLines ahead = *this;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (ahead.is_fake_before(waiting[i])) {
      return i > 0 ? waiting.first(i) : bytes_of(kMark.substr(marked_));
    }
    ahead.advance(waiting[i]);
  }
  return waiting;
}

size_t ServerLines::wrote(std::span<const uint8_t> waiting, size_t count) {
  if (is_fake_before(waiting[0])) {
    marked_ += count;
    if (marked_ < kMark.size()) return 0;
    marked_ = 0;
    matched_ = kOther;
    return 0;
  }
  for (const uint8_t byte : waiting.first(count)) advance(byte);
  return count;
}

std::string ServerLines::pass(std::string_view bytes) {
  std::string out;
  for (auto waiting = bytes_of(bytes); !waiting.empty();) {
    const auto part = next(waiting);
    out.append(reinterpret_cast<const char*>(part.data()), part.size());
    waiting = waiting.subspan(wrote(waiting, part.size()));
  }
  return out;
}

bool ServerLines::leave_line() {
  const bool left = in_line_;
  in_line_ = false;
  if (left) matched_ = 0;
  return left;
}

}  // namespace thimble
