// Freezing for a snapshot, and the way back, in this guest or in a clone of it:
//
//   kFreeze ── server settled? ── cgroup frozen, streams closed ── kFrozen ══ snapshot ══
//      the same host goes on:  streams, kThaw
//      a clone: the old connections are gone; a new host connects, is told by the hello that it
//               found a frozen guest, and sends kConfigure (who it is now), streams, kThaw
//
// Between the snapshot and kThaw no instruction of the server runs: a clone knows who it is before
// its server can ask.
#include <errno.h>
#include <unistd.h>

#include "guest-init/clock.h"
#include "guest-init/session.h"

namespace thimble::init {

uint32_t Session::guest_state() const {
  if (!is_frozen()) return protocol::kStateFresh;
  return state_ == State::kConfigured ? protocol::kStateFrozenConfigured
                                      : protocol::kStateFrozenRunning;
}

bool Session::takes_streams(const Process& process) const {
  if (&process != &server_) return !is_frozen() && process.state() == Process::State::kNone;
  if (state_ != State::kStarted) return true;
  return is_frozen() || (server_.runs() && detached_);
}

bool Session::runs_others() const {
  for (const Process& process : processes_) {
    if (&process != &server_ && process.state() != Process::State::kNone) return true;
  }
  return false;
}

// Connections are not ordered among each other: a request may overtake its streams.
bool Session::awaits_streams(const Frame& frame) {
  if (frame.type == protocol::kThaw) {
    return is_frozen() && server_.runs() && !server_.streams_connected(kAllStreams);
  }
  if (frame.type != protocol::kStart || state_ == State::kFresh || is_frozen()) return false;
  const Awaited awaited = awaited_streams(frame.payload, frame.size);
  const Process* const process = find(awaited.process);
  return process && process->state() == Process::State::kNone &&
         !process->streams_connected(awaited.streams);
}

const char* Session::on_freeze(const Frame& frame) {
  if (const char* why = decode_freeze(frame.payload, frame.size, freeze_)) return why;
  if (freezing_ != Freezing::kNo) return "freeze came twice";
  // The host did not know yet: the report of the end is on its way, and says more.
  if (state_ == State::kStarted && !server_.runs()) return nullptr;
  if (state_ == State::kFresh) return "freeze came before configure";
  // What they have of the host's would be in all clones.
  if (runs_others()) return "freeze came while processes run beside the server";
  if (state_ == State::kConfigured || !freeze_.when_idle) {
    freeze_now();
    return nullptr;
  }
  freezing_ = Freezing::kAwaitingIdle;
  next_look_ms_ = now_ms();
  idle_deadline_ms_ = next_look_ms_ + freeze_.idle_limit_ms;
  idle_.begin();
  return nullptr;
}

void Session::look_for_idle() {
  IdleLook look;
  platform_.look(platform_.context, server_.input_pipe(), look);
  const uint64_t now = now_ms();
  if (idle_.settled(look, now)) return freeze_now();
  next_look_ms_ = now + IdleWatch::kLookMs;
  if (now < idle_deadline_ms_) return;
  freezing_ = Freezing::kNo;
  Failure failure;
  fail(failure, protocol::kStepIdle, ETIMEDOUT, "wait until the server is idle: %s",
       look.reason[0] ? look.reason : "it still uses the processor");
  send_failed(failure);
}

void Session::freeze_now() {
  freezing_ = Freezing::kNo;
  Failure failure;
  if (server_.runs() && !platform_.freeze(platform_.context, true, failure)) {
    send_failed(failure);
    return;
  }
  // Streams are sockets, which do not live on in a clone; what they had not taken yet is kept.
  for (Process& process : processes_) process.detach();
  for (Guest& guest : unnamed_) {
    if (guest.fd >= 0) close(guest.fd);
    guest = Guest{};
  }
  freezing_ = Freezing::kFrozen;
  FrameWriter frozen(protocol::kFrozen);
  char who[200];
  if (server_.runs() && platform_.find_unreseeded &&
      platform_.find_unreseeded(platform_.context, who, sizeof who)) {
    frozen.add_text(protocol::kTagText, who);
  }
  control_.send(frozen);
}

const char* Session::on_thaw(const Frame& frame) {
  Thaw thaw;
  if (const char* why = decode_thaw(frame.payload, frame.size, thaw)) return why;
  if (!is_frozen()) return "thaw came without a freeze";
  if (!identity_known_) return "thaw came before the clone was told who it is";
  if (thaw.has_stdin_grace) stdin_grace_ms_ = thaw.stdin_grace_ms;
  if (thaw.has_term_grace) term_grace_ms_ = thaw.term_grace_ms;
  Failure failure;
  if (server_.runs() && !platform_.freeze(platform_.context, false, failure)) {
    send_failed(failure);
    return nullptr;
  }
  freezing_ = Freezing::kNo;
  note_activity();
  FrameWriter thawed(protocol::kThawed);
  control_.send(thawed);
  return nullptr;
}

// The host of the template is not in the clone. Whoever connects next has to say who this is.
void Session::lose_host() {
  control_.close();
  identity_known_ = false;
  for (Process& process : processes_) process.detach();
}

}  // namespace thimble::init
