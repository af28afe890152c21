// A server's stderr goes to the user's stderr as it is, where lines of ours go too, which begin
// with "thimble: ". A line of the server's that would begin so is told apart: it begins with
// "thimble(server): ". Nothing else is changed, and nothing is held back.
//
// A terminal can still be made to show anything by a server that writes escape sequences to it
// (docs/security.md): this is for whoever reads lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace thimble {

class ServerLines {
 public:
  // What is to be written next when `waiting` (not empty) comes from the server: the first bytes of
  // it, or a mark of ours.
  [[nodiscard]] std::span<const uint8_t> next(std::span<const uint8_t> waiting) const;

  // The first `count` bytes of next(waiting) were written. How many of them were the server's.
  size_t wrote(std::span<const uint8_t> waiting, size_t count);

  // All that is to be written for `bytes`.
  std::string pass(std::string_view bytes);

  // Whether what was written last left a line unfinished; it counts as ended from now on, so that
  // the caller does end it before a line of ours.
  bool leave_line();

 private:
  void advance(uint8_t byte);
  [[nodiscard]] bool is_fake_before(uint8_t byte) const;

  enum class Escape : uint8_t { kNone, kBegun, kParameters };
  Escape escape_ = Escape::kNone;  // which a terminal does not show
  size_t matched_ = 0;             // of the prefix, since the line began; kOther: it is another one
  size_t marked_ = 0;              // of the mark that have been written
  bool in_line_ = false;
};

}  // namespace thimble
