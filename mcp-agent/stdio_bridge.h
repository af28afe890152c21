// The three byte flows between the user's standard descriptors and the server's streams. The bridge
// knows nothing of what flows: a server that is run by `thimble` reads and writes what it would
// read and write without it.
#pragma once

#include <poll.h>

#include <array>
#include <span>

#include "mcp-agent/byte_flow.h"
#include "pool/guest/server_streams.h"

namespace thimble {

// Descriptors of the user's, usually 0, 1 and 2. They stay his (see endpoint.h).
struct UserStdio {
  int input = 0;
  int output = 1;
  int error = 2;
};

class StdioBridge {
 public:
  StdioBridge(UserStdio user, ServerStreams server);

  static constexpr size_t kEntries = 6;
  [[nodiscard]] std::array<pollfd, kEntries> entries() const;
  void serve(std::span<const pollfd, kEntries> answered);

  // All that the server wrote reached the user, or nobody reads it any more.
  [[nodiscard]] bool output_done() const { return flows_[1].done() && flows_[2].done(); }

  // Nothing more comes from the user, and nobody takes what the server writes to stdout.
  [[nodiscard]] bool client_gone() const { return flows_[0].input_over() && flows_[1].cut_off(); }

  // Writing to the user's stdout failed (errno), which cuts it off; 0: it did not.
  [[nodiscard]] int output_error() const { return flows_[1].error(); }
  // The same for stderr, which goes on, and what is missing of it. An error is reported once, when
  // it can be: once writing succeeds again, or at the end.
  [[nodiscard]] int stderr_error() const { return flows_[2].error(); }
  [[nodiscard]] uint64_t stderr_lost() const { return flows_[2].lost(); }
  [[nodiscard]] bool stderr_recovered() const { return flows_[2].recovered(); }

  // Bytes that the user's stdout and stderr took.
  [[nodiscard]] uint64_t written() const { return flows_[1].written() + flows_[2].written(); }

  // As many lines as an MCP server answers to `initialize` and `tools/list`.
  [[nodiscard]] bool first_answers_out() const { return flows_[1].lines() == ByteFlow::kMaxLines; }

  // Whether the user's stderr is in the middle of a line of the server's. The caller ends it.
  bool leave_error_line() { return flows_[2].leave_line(); }

  // Not one line was answered; and how the server's stderr began.
  [[nodiscard]] bool nothing_answered() const { return flows_[1].lines() == 0; }
  [[nodiscard]] const std::string& beginning_of_error() const { return flows_[2].remembered(); }

  // Closes the server's stdin after what was read already.
  void end_input();

 private:
  std::array<ByteFlow, 3> flows_;
};

// Whether the end of this descriptor means that a client has gone: true for pipes and sockets,
// false for terminals, files and devices, whose end says nothing about how long the server should
// run.
bool input_is_a_client(int fd);

}  // namespace thimble
