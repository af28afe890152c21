// A process that the host started in the guest, and its stdio: the server, or one beside it. From
// the streams that are connected for it, which may come before it does, to the moment when its
// output is out and its end can be told.
//
//   kNone ── start() ── kRunning ── it ends ── kDraining ── told() ── kEnded ── forget() ── kNone
#pragma once

#include "guest-init/child.h"
#include "guest-init/codec.h"
#include "guest-init/relay.h"

namespace thimble::init {

class Process {
 public:
  enum class State { kNone, kRunning, kDraining, kEnded };

  // What its three streams are buffered in. Once, before all else.
  using Buffers = RelayBuffer::Bytes[3];
  void buffer_in(Buffers& buffers);

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool runs() const { return state_ == State::kRunning; }
  // Nothing is connected for it, and nothing runs.
  [[nodiscard]] bool is_free() const {
    return state_ == State::kNone && !input_.connected() && !output_.connected() &&
           !error_.connected();
  }
  [[nodiscard]] pid_t pid() const { return child_.pid; }

  // Takes over a stream of the host's. False, and it stays the caller's: there is no such stream,
  // or it is connected already.
  bool attach(int fd, uint32_t stream);
  [[nodiscard]] bool streams_connected(uint32_t wanted) const;  // bits: 1 << Stream

  // kNone only. False with the failure filled in.
  bool start(Start& start, const ChildSettings& settings, Failure& failure);

  void add(PollSet& set);
  // True when bytes moved, or the host's end of the input was seen.
  bool run(const PollSet& set);

  // A child of init's has ended. True when with it the process has.
  bool on_child_ended(pid_t pid, int status);
  // kDraining, and its output is out; or the host, which sent it a signal, does not wait for that:
  // it may be that nobody takes it.
  [[nodiscard]] bool end_is_due() const;
  // As from waitpid(2); it is kEnded then.
  int tell_end();

  // The whole process group: a server behind a shell or npx is to hear it too.
  void signal(int number) const;
  void note_signal_of_host() { signalled_ = true; }
  // Its terminal has another size; without one, nothing.
  void resize(const protocol::Window& window) const;

  // The host has said all that it has to say, or is taken to have.
  void end_input() { input_.end(); }
  [[nodiscard]] bool input_ended() const { return input_.host_ended(); }
  [[nodiscard]] bool waits_for_host() const {
    return output_.waits_for_host() || error_.waits_for_host();
  }
  [[nodiscard]] int input_pipe() const { return input_.pipe(); }

  // The host is gone, and another one may come.
  void detach();
  // What is left is closed: the next one may have its place.
  void forget();

 private:
  State state_ = State::kNone;
  ServerProcess child_;
  int exit_status_ = 0;
  bool signalled_ = false;  // by the host
  int terminal_ = -1;       // its master; kept open while its process may come back to it
  InputRelay input_;
  OutputRelay output_;
  OutputRelay error_;
};

}  // namespace thimble::init
