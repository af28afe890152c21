// Frames and fields of the control protocol, in both directions. Decoding trusts nothing: every
// length is checked before it is used, unknown, repeated and missing fields are errors. Decoded
// strings point into the payload, which the decoder rewrites in place (it adds the NULs).
#pragma once

#include "guest-init/bytes.h"
#include "guest-init/protocol.h"

namespace thimble::init {

struct Configure {
  char* hostname;  // null when absent
  bool has_wall_clock;
  uint64_t wall_clock_ns;  // since the epoch
  Bytes entropy;           // at most kMaxEntropy bytes
  uint32_t mount_count;
  protocol::Mount mounts[protocol::kMaxMounts];  // strings are NUL-terminated
};

struct Start {
  uint32_t argument_count;  // at least 1
  uint32_t environment_count;
  char* arguments[protocol::kMaxArguments + 1];  // null at the end
  // With room for what init adds (account.h).
  static constexpr uint32_t kEnvironmentRoom = protocol::kMaxEnvironment + 3;
  char* environment[kEnvironmentRoom + 1];
  const char* workdir;  // absolute
  const char* user;     // null when absent
  uint32_t rlimit_count;
  protocol::Rlimit rlimits[protocol::kMaxRlimits];
  uint32_t stdin_grace_ms;  // 0 = never
  uint32_t term_grace_ms;   // 0 = never
  bool detached;
  uint32_t process;  // 0: the server
  bool has_terminal;
  protocol::Window window;
};

struct Signal {
  int number;
  uint32_t process;
};

struct Resize {
  protocol::Window window;
  uint32_t process;
};

struct Freeze {
  bool when_idle;
  uint32_t idle_limit_ms;
};

struct Thaw {
  bool has_stdin_grace;
  uint32_t stdin_grace_ms;
  bool has_term_grace;
  uint32_t term_grace_ms;
};

constexpr uint32_t kMaxEntropy = 512;
constexpr uint32_t kMaxHostname = 64;

// Each returns null when the message is well formed, otherwise what is wrong with it. `payload`
// stays the caller's and must outlive the decoded message.
[[nodiscard]] const char* check_header(const protocol::FrameHeader& header);
[[nodiscard]] const char* decode_configure(char* payload, size_t size, Configure& message);
[[nodiscard]] const char* decode_start(char* payload, size_t size, Start& message);
// The streams that a start, not decoded yet, awaits: 1 << protocol::Stream, and whose they are;
// leaves the payload as it is.
constexpr uint32_t kAllStreams = 7;
constexpr uint32_t kTerminalStreams = 1U << protocol::kStdin | 1U << protocol::kStdout;
struct Awaited {
  uint32_t process = protocol::kServerProcess;
  uint32_t streams = kAllStreams;
};
[[nodiscard]] Awaited awaited_streams(const char* payload, size_t size);
[[nodiscard]] const char* decode_freeze(char* payload, size_t size, Freeze& message);
[[nodiscard]] const char* decode_thaw(char* payload, size_t size, Thaw& message);
[[nodiscard]] const char* decode_signal(char* payload, size_t size, Signal& message);
[[nodiscard]] const char* decode_resize(char* payload, size_t size, Resize& message);
[[nodiscard]] const char* decode_ping(char* payload, size_t size, uint64_t& nonce);
[[nodiscard]] const char* decode_set_clock(char* payload, size_t size, uint64_t& since_epoch_ns);
[[nodiscard]] const char* decode_empty(size_t size);

// Builds one outgoing frame. Init's own messages are small: what does not fit is cut.
class FrameWriter {
 public:
  explicit FrameWriter(protocol::MessageType type);

  FrameWriter& add_u32(protocol::Tag tag, uint32_t value);
  FrameWriter& add_u64(protocol::Tag tag, uint64_t value);
  FrameWriter& add_text(protocol::Tag tag, const char* text);

  [[nodiscard]] Bytes finish();

 private:
  void add(protocol::Tag tag, const void* value, size_t length);

  char frame_[1024];
  size_t size_;
};

}  // namespace thimble::init
