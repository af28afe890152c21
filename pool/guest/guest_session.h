// A VM's guest from its first word to the end of its server: the handshake, driven in one place for
// whoever runs a server in it, freezes it (pool/template/freeze.h) or measures it.
//
//   booted           hello, its state: fresh     clone         hello, its state: frozen
//                 -> streams, who it is                     -> streams, who it is
//                    configured                                configured
//                 -> start the server                       -> thaw
//                    started: it runs                          thawed: it runs; or, frozen before
//                                                              that, -> start the server
//
// Moves no bytes of the server's, and has no loop of its own: entries() says what to poll for,
// serve() takes what poll(2) answered, and the listener hears what came of it. It may ask for more
// of the VM and the guest at any time by vm() and control(); what that queues goes out with serve()
// or flush(). One thread.
#pragma once

#include <poll.h>

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <span>

#include "pool/guest/guest_control.h"
#include "pool/guest/server_streams.h"
#include "pool/vm/vm_process.h"

namespace thimble {

struct GuestOrder {
  GuestIdentity identity = {};
  // The server to run: one that is frozen already gets its times of grace from it. Without it the
  // guest is left configured, and the listener goes on.
  std::optional<ServerSpec> server = {};
  // Its guest does not announce itself, it is there.
  bool is_clone = false;
  // From the start of the VM to the start of the server; and, for a clone, to the guest's first
  // word, which it has only to say. Nested emulation on a busy machine is slow.
  std::chrono::milliseconds start_limit{std::chrono::minutes(2)};
  std::chrono::milliseconds clone_limit{std::chrono::seconds(30)};
};

class GuestSession {
 public:
  using Clock = std::chrono::steady_clock;

  struct Listener {
    // The streams stand: what is written to them reaches the server, however early. Not called
    // without a server.
    std::function<void(ServerStreams)> on_streams;
    // The guest did what was asked and nothing more is: the server runs, or without a server the
    // guest is configured.
    std::function<void()> on_there;
    // Of the guest what is left to hear: kFailed, kExited, kPong, kFrozen, kNotice, kBroken;
    // kStarted of what the listener has started: its server, or a process beside that.
    std::function<void(const GuestEvent&)> on_guest;
    // What the guest had said by the VM's end was heard before that.
    std::function<void(const VmEvent&)> on_vm;
    // The guest closed its control channel: it is about to end.
    std::function<void()> on_closed;
    // It could not be spoken to.
    std::function<void(const Error&)> on_error;
  };

  GuestSession(VmProcess vm, GuestOrder order);
  // Once, before anything else. It may be called back at once.
  void begin(Listener listener);

  static constexpr size_t kEntries = 2;
  [[nodiscard]] std::array<pollfd, kEntries> entries() const;
  void serve(std::span<const pollfd, kEntries> answered);
  void flush();

  // When the guest should have come so far; nothing once it is there. What follows is the
  // listener's to decide.
  [[nodiscard]] std::optional<Clock::time_point> deadline() const { return deadline_; }

  // Nothing was heard of the guest, so nothing was asked of it either.
  [[nodiscard]] bool is_mute() const {
    return control_.state() == GuestControl::State::kConnecting;
  }
  [[nodiscard]] Clock::time_point begun() const { return begun_; }

  [[nodiscard]] VmProcess& vm() { return vm_; }
  [[nodiscard]] GuestControl& control() { return control_; }
  [[nodiscard]] const GuestControl& control() const { return control_; }

 private:
  void connect();
  void on_control_readable();
  void on_guest_event(const GuestEvent& event);
  void on_vm_event(const VmEvent& event);
  void shake_hands();
  void go_on();
  void arrive();
  void ask(const Result<void>& queued);
  void on_no_stream(const Error& error);

  VmProcess vm_;
  GuestOrder order_;
  Listener listener_;
  GuestControl control_;
  Fd socket_;
  Clock::time_point begun_ = Clock::now();
  std::optional<Clock::time_point> deadline_;
};

}  // namespace thimble
