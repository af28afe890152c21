// The ends of a command's three streams. An Outlet reads a descriptor and sends frames while it has
// credit; an Inlet takes frames, writes them to a descriptor and gives credit back as it does.
// Both are driven by poll(2) from one thread.
#pragma once

#include <poll.h>

#include <string>

#include "devices/fd.h"
#include "tools/lab-box/link.h"

namespace thimble::lab {

class Outlet {
 public:
  Outlet(uint8_t stream, Fd source) : stream_(stream), source_(std::move(source)) {}

  [[nodiscard]] bool open() const { return static_cast<bool>(source_); }
  // What to wait for now; its fd is -1 when nothing may be read.
  [[nodiscard]] pollfd wish(const Link& link) const;
  // Reads once and sends; sends Eof and closes at the end. False if nothing was there to read.
  bool pump(Link& link);
  void add_credit(uint32_t bytes) { credit_ += bytes; }
  // Stops reading; `link` is told Eof so that the other side can finish.
  void stop(Link& link);

 private:
  uint8_t stream_;
  Fd source_;
  size_t credit_ = kWindow;
};

class Inlet {
 public:
  // `largest_write` bounds one write(2): 4096 keeps a blocking pipe from blocking after poll.
  Inlet(uint8_t stream, Fd sink, size_t largest_write)
      : stream_(stream), sink_(std::move(sink)), largest_write_(largest_write) {}

  [[nodiscard]] bool open() const { return static_cast<bool>(sink_); }
  [[nodiscard]] bool unwritten() const { return open() && !buffer_.empty(); }
  [[nodiscard]] pollfd wish() const;
  // False if the peer sent more than its credit.
  bool take(std::string_view data);
  void take_eof();
  // Acts on what poll said.
  void pump(short revents, Link& link);

 private:
  void break_off(Link& link);

  uint8_t stream_;
  Fd sink_;
  size_t largest_write_;
  std::string buffer_;
  size_t written_ = 0;
  bool eof_ = false;
};

}  // namespace thimble::lab
