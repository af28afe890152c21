// One end of a byte flow: a standard descriptor of the user's, or a stream to the guest. Reading
// and writing never block the loop, and never change the user's open files: those are shared with
// other processes (a shell's terminal, a client's pipe), so O_NONBLOCK must not be set on them.
//
// How that is done, by what the descriptor is:
//   socket        recv and send with MSG_DONTWAIT
//   reading       read() once poll() said so: the only reader does not wait then
//   writing to a  a second open file of the same pipe or terminal, opened by /proc/self/fd with
//   pipe or tty   O_NONBLOCK of its own; where that is forbidden (another user's pipe), PIPE_BUF
//   bytes
//                 once poll() said so, which a pipe takes without waiting
//   file, device  read() and write(): they do not wait for another process
#pragma once

#include <cstdint>
#include <span>

#include "devices/fd.h"

namespace thimble {

struct IoResult {
  enum class Kind {
    kBytes,       // `count` bytes went through, at least one
    kWouldBlock,  // nothing now
    kEnd,         // reading: no more will come; writing: nobody takes them any more
    kFailed,  // writing: `error` says why: a full disk, a file that may not grow, a broken device
  };
  Kind kind = Kind::kWouldBlock;
  size_t count = 0;
  int error = 0;  // errno
};

class Endpoint {
 public:
  Endpoint() = default;

  // A connected, non-blocking stream socket of our own.
  static Endpoint stream(Fd socket);

  // A standard descriptor of the user's, which stays his: close() puts /dev/null in its place, so
  // that the other end sees the close and no later open() gets its number. `keep` prevents that.
  static Endpoint user_input(int fd, bool keep = false);
  static Endpoint user_output(int fd, bool keep);

  // The descriptor to poll, or -1 after close().
  [[nodiscard]] int poll_fd() const;

  // True when write() may be called without poll() having said so.
  [[nodiscard]] bool never_waits() const {
    return kind_ == Kind::kStream || kind_ == Kind::kPrivate;
  }

  IoResult read(std::span<uint8_t> into);
  IoResult write(std::span<const uint8_t> bytes);

  // Tells the other end that no more bytes come: half close for a stream, close() for the user's.
  void finish();
  void close();

 private:
  enum class Kind {
    kClosed,
    kStream,   // owned_: socket
    kSocket,   // user_fd_: socket
    kPrivate,  // owned_: non-blocking second open file of user_fd_
    kGentle,   // user_fd_: pipe or terminal, small writes after poll()
    kPlain,    // user_fd_: whatever else
  };

  Kind kind_ = Kind::kClosed;
  Fd owned_;
  int user_fd_ = -1;
  bool keep_ = false;
};

}  // namespace thimble
