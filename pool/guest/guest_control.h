// The host's side of the control protocol (docs/control-protocol.md) as a state machine without
// I/O: bytes from the guest go in, events come out; requests go in, bytes for the guest come out.
//
// The guest is not trusted. Whatever it sends that the protocol does not allow at that point
// (sizes, counts, tags, types, order) breaks the channel: one kBroken event, and nothing after it.
// Memory is bounded by one frame each way, however the bytes arrive. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"
#include "guest-init/protocol.h"

namespace thimble {

// kConfigure: who the guest is, and what it mounts. What is empty or 0 stays as it is.
struct GuestIdentity {
  std::string hostname;
  uint64_t wall_clock_ns = 0;
  std::vector<uint8_t> entropy;
  std::vector<protocol::Mount> mounts;
};

// kStart: the server, or a process beside it.
struct ServerSpec {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // "K=V"
  std::string workdir;                   // empty: "/"
  std::string user;                      // empty: root
  std::vector<protocol::Rlimit> rlimits;
  uint32_t stdin_grace_ms = 0;  // 0: never
  uint32_t term_grace_ms = 0;   // 0: never
  // Start when only these streams are connected, 1 << protocol::Stream.
  bool detached = false;
  uint32_t awaited_streams = 0;
  std::optional<protocol::Window> terminal;  // in place of pipes
};

// What is absent stays as kStart said.
struct ThawOptions {
  std::optional<uint32_t> stdin_grace_ms;
  std::optional<uint32_t> term_grace_ms;
};

struct GuestEvent {
  enum class Kind {
    kHello,  // found: a fresh guest, or a frozen one
    kConfigured,
    kStarted,  // pid
    kFailed,   // step, error, text
    kExited,   // exit_code or exit_signal; oom_kills
    kPong,     // nonce
    kNotice,   // text
    kFrozen,   // nothing of the server runs; the streams are closed. text: a process whose random
               // numbers would be the same in all clones; empty without one
    kThawed,
    kBroken,  // text: what the guest did wrong
  };
  Kind kind = Kind::kNotice;
  // kStarted, kFailed, kExited: whose. What is not the server's changes nothing for that.
  uint32_t process = protocol::kServerProcess;
  std::string text;  // printable
  protocol::GuestState found = protocol::kStateFresh;
  uint32_t pid = 0;
  uint32_t step = 0;
  uint32_t error = 0;
  std::optional<uint32_t> exit_code;
  std::optional<uint32_t> exit_signal;
  uint32_t oom_kills = 0;
  uint64_t nonce = 0;
};

class GuestControl {
 public:
  // Takes bytes that came from the guest, in pieces of any size.
  void received(std::span<const uint8_t> bytes);

  // The next event, in the order of arrival.
  std::optional<GuestEvent> next_event();

  // Requests. Their bytes join output(). An error says what is too large or comes at the wrong
  // time; nothing was queued then.
  Result<void> configure(const GuestIdentity& identity);  // after kHello, fresh or frozen
  Result<void> start(const ServerSpec& server);           // after kConfigured
  // From start() or thaw() on, answered or not: the guest takes them in order, and the server's
  // output can be here before the answer is.
  Result<void> signal(uint32_t number);
  // A process beside the server, while the guest is configured and not frozen: its number. The
  // guest starts it when the streams of that number are connected (server_streams.h). The number is
  // free again with its kExited or kFailed; a guest has protocol::kMaxProcesses of them.
  Result<uint32_t> start_beside(const ServerSpec& process);
  // One that has ended meanwhile is no error.
  Result<void> signal_beside(uint32_t process, uint32_t number);
  Result<void> resize(uint32_t process, protocol::Window window);
  Result<void> ping(uint64_t nonce);  // after kHello
  Result<void> end();                 // after kStarted
  // After kConfigured or kStarted, with nothing beside the server. With a limit the guest waits
  // until the server has come up and awaits its client; when that takes longer, kFailed (step
  // kStepIdle) comes and the server runs on.
  Result<void> freeze(std::optional<uint32_t> idle_limit_ms);
  // After kFrozen; in a clone after configure(). Its streams must be connected, too.
  Result<void> thaw(const ThawOptions& options);
  // The wall clock, in nanoseconds since 1970. After kConfigured; no answer comes.
  Result<void> set_clock(uint64_t since_epoch_ns);
  Result<void> power_off();  // after kHello

  // Bytes for the guest that wait to be sent; sent(n) takes the first n away.
  [[nodiscard]] std::span<const uint8_t> output() const;
  void sent(size_t count);

  enum class State {
    kConnecting,   // waits for hello
    kFresh,        // found fresh: configure() is next
    kConfiguring,  // waits for its answer
    kConfigured,   // start() is next
    kStarting,     // waits for its answer
    kRunning,
    kFreezing,     // waits for its answer
    kFrozen,       // thaw() is next
    kFrozenClone,  // found frozen: configure() is next
    kThawing,      // waits for its answer
    kExited,
    kFailed,  // the guest could not do what was asked
    kBroken,
  };
  [[nodiscard]] State state() const { return state_; }
  // signal() may be asked.
  [[nodiscard]] bool takes_signals() const;

 private:
  void take_frame(uint16_t type, std::span<const uint8_t> payload);
  [[nodiscard]] std::optional<State> after(const GuestEvent& event);
  State after_hello(protocol::GuestState found);
  [[nodiscard]] bool may_exit() const;
  // Of what is beside the server: whether the guest may say that now.
  bool take_beside(const GuestEvent& event);
  void broken(const std::string& why);
  Result<void> queue(uint16_t type, std::vector<uint8_t> payload);

  State state_ = State::kConnecting;
  State configured_ = State::kConfigured;  // what kConfigured leads to
  State thawed_ = State::kConfigured;      // what a frozen guest comes back to
  enum class Beside { kFree, kStarting, kRunning };
  std::array<Beside, 1 + protocol::kMaxProcesses> beside_{};  // by number; 0 is not used
  std::vector<uint8_t> input_;
  std::vector<uint8_t> output_;
  size_t output_sent_ = 0;
  std::deque<GuestEvent> events_;
};

}  // namespace thimble
