// What passes between `thimble exec` and the process that has the guest, over a unix socket of its
// owner's (SOCK_SEQPACKET). A message is one datagram of words, with a zero byte after each:
//
//   client                                              service (exec_service.h)
//   start OPTION… -- CMD ARGS…                       ->
//     OPTION: env K=V | workdir DIR | user USER | terminal ROWS COLUMNS
//                                                    <-  streams, with descriptors: stdin, stdout,
//                                                        and without a terminal stderr
//                                                    <-  started
//                                                    <-  failed STEP ERRNO TEXT: that is all
//                                                    <-  exited CODE, or killed SIGNAL: that is all
//   signal NUMBER                                    ->
//   resize ROWS COLUMNS                              ->
//   its end: whoever asked is gone                   ->  SIGHUP, and SIGKILL a while after
//
// The bytes of the process pass by the streams, which are the client's alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "guest-init/protocol.h"

namespace thimble {

using ExecWords = std::vector<std::string>;

constexpr size_t kMaxExecMessage = size_t{128} * 1024;
constexpr size_t kMaxExecStreams = 3;

struct ExecRequest {
  std::vector<std::string> command;      // CMD ARGS…
  std::vector<std::string> environment;  // K=V, on top of the server's
  std::string workdir;                   // empty: the server's
  std::string user;                      // empty: the server's
  std::optional<protocol::Window> terminal;
};

ExecWords exec_words(const ExecRequest& request);
// The words of a `start`. An error says what is wrong with them.
Result<ExecRequest> parse_exec_request(const ExecWords& words);
// The two words of a window.
std::optional<protocol::Window> parse_window(std::string_view rows, std::string_view columns);

struct ExecMessage {
  ExecWords words;  // at least one
  std::vector<Fd> streams;
};
struct ExecNothing {};  // not now
struct ExecGone {};     // the other end is closed, or sent what is no message
using ExecReceived = std::variant<ExecMessage, ExecNothing, ExecGone>;

// Neither waits. False: the other end is gone or does not read, or it is too long (EMSGSIZE).
bool send_exec(int socket, const ExecWords& words, std::span<const int> streams = {});
ExecReceived receive_exec(int socket);
// The words of one datagram; nothing when it is none of ours.
std::optional<ExecWords> parse_exec_words(std::string_view datagram);

}  // namespace thimble
