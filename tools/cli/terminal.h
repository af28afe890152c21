// The user's terminal as a serial console: raw while this object lives, as it was afterwards, on
// every way out that runs destructors.
#pragma once

#include <termios.h>

#include <optional>

namespace thimble::cli {

class RawTerminal {
 public:
  // Nothing when `fd` is no terminal.
  static std::optional<RawTerminal> enter(int fd);

  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

 private:
  RawTerminal(int fd, const termios& before) : fd_(fd), before_(before) {}

  int fd_;
  termios before_;
};

// Finds "Ctrl-A x" in what is typed, as in QEMU: x ends the VM, a second Ctrl-A is one Ctrl-A for
// the guest; before anything else a Ctrl-A is dropped.
class EscapeFilter {
 public:
  static constexpr char kEscape = 1;  // Ctrl-A

  // Filters `bytes` in place; the length that is left. quit() is set when the user asked for it.
  size_t filter(char* bytes, size_t length);
  [[nodiscard]] bool quit() const { return quit_; }

 private:
  bool escaped_ = false;
  bool quit_ = false;
};

}  // namespace thimble::cli
