// Carries the server's stdio between its pipes and the host's streams: one fixed buffer each way,
// never blocking. A side that cannot take more stops the other side from being read, so memory
// stays bounded and backpressure reaches the writer.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "guest-init/poll_set.h"

namespace thimble::init {

// Filled at the end, emptied at the front, starts over when empty. Its bytes lie elsewhere: what is
// looked at all the time stays together, on pages that a clone has changed anyway.
class RelayBuffer {
 public:
  static constexpr size_t kCapacity = size_t{64} * 1024;
  using Bytes = char[kCapacity];

  // Once, before all else. They outlive this.
  void lie_in(Bytes& bytes) { data_ = bytes; }

  enum class Fill { kData, kBlocked, kEnd };
  enum class Drain { kEmpty, kBlocked, kBroken };

  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] bool full() const { return end_ == kCapacity; }
  [[nodiscard]] size_t room() const { return kCapacity - end_; }
  void clear() { begin_ = end_ = 0; }

  // Reads once, at most `limit` bytes; errors other than "would block" count as the end.
  Fill fill(int fd, size_t limit, size_t& count);
  // Writes until empty or blocked; `moved` tells whether anything went.
  Drain drain(int fd, bool& moved);

 private:
  size_t begin_ = 0;
  size_t end_ = 0;
  char* data_ = nullptr;
};

// stdin: host's stream -> server's pipe. Owns both descriptors.
class InputRelay {
 public:
  void buffer_in(RelayBuffer::Bytes& bytes) { buffer_.lie_in(bytes); }
  [[nodiscard]] bool connected() const { return stream_ >= 0; }
  // The host may have closed the stream early: it counts as connected for the start all the same.
  void connect(int stream) { stream_ = stream; }
  void open(int pipe) { pipe_ = pipe; }
  [[nodiscard]] int pipe() const { return pipe_; }
  // The host is gone, but another one may come: what is buffered stays for the server.
  void detach();
  // No more input is taken; the server sees the end once it has read what is buffered.
  void end();
  // The server is gone.
  void close_all();
  // … and another one may come, with another host's stream.
  void reset();

  void add(PollSet& set);
  // True when bytes moved.
  bool run(const PollSet& set);

  // The host has nothing more to send, though some of it may still be on its way to the server.
  [[nodiscard]] bool host_ended() const { return host_ended_; }

 private:
  void pump();
  void server_closed_it();

  int stream_ = -1;
  int pipe_ = -1;
  bool host_ended_ = false;
  bool moved_ = false;
  int stream_index_ = PollSet::kNone;
  int pipe_index_ = PollSet::kNone;
  RelayBuffer buffer_;
};

// stdout, stderr: server's pipe, or its terminal, -> host's stream. Owns both descriptors.
class OutputRelay {
 public:
  void buffer_in(RelayBuffer::Bytes& bytes) { buffer_.lie_in(bytes); }
  [[nodiscard]] bool connected() const { return stream_ >= 0; }
  void connect(int stream) { stream_ = stream; }
  void open(int pipe) { pipe_ = pipe; }
  // The host is gone, but another one may come and gets what is buffered and what the pipe holds.
  void detach();
  // The server is gone: pass on what the pipe holds now, whoever else still has it open; without a
  // stream it is lost.
  void finish();
  void reset();

  void add(PollSet& set);
  // True when bytes moved.
  bool run(const PollSet& set);

  // Nothing will be passed on any more.
  [[nodiscard]] bool finished() const { return pipe_ < 0 && buffer_.empty(); }
  // The host is slow: output waits in the buffer.
  [[nodiscard]] bool waits_for_host() const { return !buffer_.empty(); }

 private:
  void pump();
  void watch_host(int events);
  void end_stream();
  void reader_gone();

  int stream_ = -1;
  int pipe_ = -1;
  bool host_half_closed_ = false;
  bool stream_ended_ = false;
  bool moved_ = false;
  size_t left_ = SIZE_MAX;  // bytes still to be taken from the pipe
  int stream_index_ = PollSet::kNone;
  int pipe_index_ = PollSet::kNone;
  RelayBuffer buffer_;
};

}  // namespace thimble::init
