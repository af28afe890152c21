// See console_tail.h.
#include "pool/vm/console_tail.h"

#include <string_view>

#include "devices/printable.h"

namespace thimble {

namespace {
constexpr std::string_view kPanicMark = "Kernel panic - not syncing: ";
}

void ConsoleTail::feed(std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) {
    if (byte == '\n') {
      end_line();
    } else if (byte != '\r' && current_.size() < kMaxLineBytes) {
      current_ += static_cast<char>(byte);
    }
  }
}

void ConsoleTail::finish() {
  if (!current_.empty()) end_line();
}

void ConsoleTail::end_line() {
  // Bytes that the guest repeats for ever without a line end are dropped beyond kMaxLineBytes, so
  // that one line cannot grow without bound.
  std::string line = printable(current_, kMaxLineBytes);
  current_.clear();
  if (panic_.empty()) {
    const size_t mark = line.find(kPanicMark);
    if (mark != std::string::npos) panic_ = line.substr(mark + kPanicMark.size());
  }
  if (on_line_) on_line_(line);
  lines_.push_back(std::move(line));
  if (lines_.size() > kMaxLines) lines_.pop_front();
}

}  // namespace thimble
