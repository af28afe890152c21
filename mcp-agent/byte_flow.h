// Bytes that flow one way, from a source to a sink, through a buffer of fixed size: when the sink
// stalls the source is no longer read (backpressure), when the source ends the sink is finished
// once everything was written, and when the sink's reader is gone the source is closed. Bytes pass
// unchanged. One thread, with poll().
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>

#include "mcp-agent/endpoint.h"

namespace thimble {

class ByteFlow {
 public:
  static constexpr size_t kDefaultCapacity = size_t{256} * 1024;

  ByteFlow(Endpoint source, Endpoint sink, size_t capacity = kDefaultCapacity);

  // What to wait for now; a descriptor of -1 is one that poll() skips.
  [[nodiscard]] pollfd source_entry() const;
  [[nodiscard]] pollfd sink_entry() const;

  // Moves what can be moved, given what poll() answered.
  void serve(short source_events, short sink_events);

  // Takes nothing more from the source: as if it had ended.
  void end_input();

  // Everything that came was written, or nobody takes it any more.
  [[nodiscard]] bool done() const { return done_; }

  // Lines that were written out, of the first few: counting stops at kMostLines.
  static constexpr unsigned kMostLines = 2;
  [[nodiscard]] unsigned lines() const { return lines_; }

  [[nodiscard]] size_t buffered() const { return tail_ - head_; }

 private:
  void fill();
  void drain();
  void sink_gone();
  [[nodiscard]] bool has_room() const { return buffered() < capacity_; }

  Endpoint source_;
  Endpoint sink_;
  size_t capacity_;
  std::unique_ptr<uint8_t[]> buffer_;  // not cleared: costs only what has been used
  size_t head_ = 0;                    // buffer_[head_, tail_) waits to be written
  size_t tail_ = 0;
  unsigned lines_ = 0;
  bool source_ended_ = false;
  bool done_ = false;
};

}  // namespace thimble
