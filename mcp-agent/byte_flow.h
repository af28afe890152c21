// Bytes that flow one way, from a source to a sink, through a buffer of fixed size: when the sink
// stalls the source is no longer read (backpressure), when the source ends the sink is finished
// once everything was written, and when the sink's reader is gone the source is closed. Bytes pass
// unchanged, but for marks on a server's lines that look like ours (mark_lines()). One thread, with
// poll().
//
// A sink that cannot be written to, such as a file on a full disk, is no reader that left: its
// error is kept. What happens then is up to the flow: it is cut off, since a stream with a gap in
// it is worse than none, or it goes on with what comes later, as a program's log does.
#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "mcp-agent/endpoint.h"
#include "mcp-agent/server_lines.h"

namespace thimble {

class ByteFlow {
 public:
  static constexpr size_t kDefaultCapacity = size_t{256} * 1024;

  enum class OnError { kCutOff, kGoOn };

  ByteFlow(Endpoint source, Endpoint sink, size_t capacity = kDefaultCapacity,
           OnError on_error = OnError::kCutOff);

  // What to wait for now; a descriptor of -1 is one that poll() skips.
  [[nodiscard]] pollfd source_entry() const;
  [[nodiscard]] pollfd sink_entry() const;

  // Moves what can be moved, given what poll() answered.
  void serve(short source_events, short sink_events);

  // Takes nothing more from the source: as if it had ended.
  void end_input();

  // Everything that came was written, or nobody takes it any more.
  [[nodiscard]] bool done() const { return done_; }

  // The first error of writing to the sink (errno); 0: there was none.
  [[nodiscard]] int error() const { return error_; }
  // Bytes that an error has cost a flow that goes on, and whether writing succeeds again.
  [[nodiscard]] uint64_t lost() const { return lost_; }
  [[nodiscard]] bool recovered() const { return lost_ > 0 && writable_; }

  // No more can come: the source has ended or its writers are gone, or the sink takes no more.
  [[nodiscard]] bool input_over() const { return source_ended_ || source_hung_up_ || done_; }
  // The sink's reader has left, or it cannot be written to. Not so when the source ended in order.
  [[nodiscard]] bool cut_off() const { return cut_off_; }

  [[nodiscard]] uint64_t written() const { return written_; }

  // Lines that were written out, of the first few: counting stops at kMaxLines.
  static constexpr unsigned kMaxLines = 2;
  [[nodiscard]] unsigned lines() const { return lines_; }

  // The sink is where lines of ours go too (server_lines.h). Before anything flows.
  void mark_lines() { marks_.emplace(); }
  // Whether the sink is in the middle of a line, which the caller ends.
  bool leave_line() { return marks_ && marks_->leave_line(); }

  // Keeps the first bytes that come, at most so many, beside passing them on.
  void remember(size_t max) { remembers_ = max; }
  [[nodiscard]] const std::string& remembered() const { return remembered_; }

  [[nodiscard]] size_t buffered() const { return tail_ - head_; }

 private:
  void fill();
  void drain();
  void sink_gone();
  void sink_failed(int error);
  [[nodiscard]] bool has_room() const { return buffered() < capacity_; }

  Endpoint source_;
  Endpoint sink_;
  size_t capacity_;
  std::unique_ptr<uint8_t[]> buffer_;  // not cleared: costs only what has been used
  size_t head_ = 0;                    // buffer_[head_, tail_) waits to be written
  size_t tail_ = 0;
  OnError on_error_;
  int error_ = 0;
  uint64_t lost_ = 0;
  uint64_t written_ = 0;
  unsigned lines_ = 0;
  std::optional<ServerLines> marks_;
  bool writable_ = true;  // the last write succeeded
  size_t remembers_ = 0;
  std::string remembered_;
  bool source_ended_ = false;
  bool source_hung_up_ = false;
  bool cut_off_ = false;
  bool done_ = false;
};

}  // namespace thimble
