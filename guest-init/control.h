// The control channel: whole frames in, whole frames out, over one non-blocking socket. Buffers are
// fixed; while answers cannot leave, nothing more is read, so a host that never reads cannot make
// init grow.
#pragma once

#include <stddef.h>

#include "guest-init/codec.h"
#include "guest-init/poll_set.h"

namespace thimble::init {

struct Frame {
  uint16_t type;
  char* payload;  // valid until the next take()
  size_t size;
};

class ControlChannel {
 public:
  enum class Input { kFrame, kNothing, kClosed, kMalformed };

  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  // The host has closed its end; whole frames may still be there to be taken.
  [[nodiscard]] bool closed_by_host() const { return closed_by_host_; }
  // Takes over a connected non-blocking socket.
  void connect(int fd);
  void close();

  void add(PollSet& set);
  // Moves what can be moved both ways.
  void run(const PollSet& set);

  // The next whole frame; kMalformed sets `why`. kClosed only after all whole frames were taken.
  [[nodiscard]] Input take(Frame& frame, const char*& why);
  // The frame taken last is to be taken again later.
  void put_back() { taken_ = 0; }
  // False when there is no room: the host does not read.
  bool send(FrameWriter& writer);
  // Waits for the host to take what was sent, for at most this long.
  void flush(int timeout_ms);

 private:
  static constexpr size_t kInCapacity = sizeof(protocol::FrameHeader) + protocol::kMaxPayload;
  static constexpr size_t kOutCapacity = size_t{16} * 1024;
  static constexpr size_t kLargestAnswer = 1024;

  [[nodiscard]] bool may_answer() const { return kOutCapacity - out_size_ >= kLargestAnswer; }
  void receive();
  void transmit();
  void drop_taken();

  int fd_ = -1;
  bool closed_by_host_ = false;
  int index_ = PollSet::kNone;
  size_t in_size_ = 0;
  size_t taken_ = 0;  // bytes of the frame handed out last
  size_t out_size_ = 0;
  char in_[kInCapacity];
  char out_[kOutCapacity];
};

}  // namespace thimble::init
