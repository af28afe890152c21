// The last lines that a guest wrote to its serial console, kept to explain its end: a kernel that
// panics says why there and nowhere else. Bounded: a guest may write for ever.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>

namespace thimble {

class ConsoleTail {
 public:
  static constexpr size_t kMaxLines = 40;
  static constexpr size_t kMaxLineBytes = 400;

  // Lines are handed to `on_line` as they end, in printable form (see printable.h).
  using OnLine = std::function<void(const std::string&)>;
  explicit ConsoleTail(OnLine on_line = nullptr) : on_line_(std::move(on_line)) {}

  void feed(std::span<const uint8_t> bytes);

  // Ends the line that is being written, as at the end of the machine.
  void finish();

  [[nodiscard]] const std::deque<std::string>& lines() const { return lines_; }

  // What the kernel gave as the reason for its panic, or nothing when it did not panic.
  [[nodiscard]] const std::string& panic() const { return panic_; }

 private:
  void end_line();

  OnLine on_line_;
  std::string current_;
  std::deque<std::string> lines_;
  std::string panic_;
};

}  // namespace thimble
