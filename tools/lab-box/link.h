// One framed connection: buffers in both directions over a non-blocking socket. Used from one
// thread. The peer is not trusted with memory: a frame longer than the limit ends the link.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/lab-box/protocol.h"

namespace thimble::lab {

struct Frame {
  FrameType type;
  uint8_t stream;
  std::string payload;

  // The payload of a frame that carries one number; 0 when it has another size.
  [[nodiscard]] uint32_t number() const;
};

class Link {
 public:
  // `socket` is made non-blocking. Frames longer than `limit` bytes are refused.
  Link(Fd socket, size_t limit);

  void send(FrameType type, uint8_t stream, std::string_view payload = {});
  void send_number(FrameType type, uint8_t stream, uint32_t number);

  // Bytes that the socket has not taken yet.
  [[nodiscard]] size_t pending() const { return out_.size() - out_sent_; }
  [[nodiscard]] int fd() const { return socket_.get(); }
  void set_limit(size_t limit) { limit_ = limit; }

  // Writes what the socket takes now.
  Result<void> flush();
  // Reads what is there; false at the end of the connection.
  Result<bool> fill();
  // The next whole frame, nothing if there is none yet.
  Result<std::optional<Frame>> next();
  // Blocks until everything is written, for at most `timeout_ms`.
  Result<void> drain(int timeout_ms);
  // Sends what is left and waits for the peer to close. A socket closed with unread input would be
  // reset, and the reset can overtake our last frames.
  void finish(int timeout_ms);

 private:
  Fd socket_;
  size_t limit_;
  std::string out_;
  size_t out_sent_ = 0;
  std::string in_;
  size_t in_used_ = 0;
};

}  // namespace thimble::lab
