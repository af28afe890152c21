// What the daemon and its clients say to each other over an AF_UNIX SOCK_SEQPACKET socket: one
// datagram is one JSON object. docs/pool.md has the messages.
//
//   client -> daemon   {"op":"claim","store":FOLDER,"template":NAME,"console":BOOL,"label":TEXT}
//                      {"op":"warm","store":FOLDER,"template":NAME,"warm_vms":N}
//                      {"op":"status"}
//                      {"op":"stop"}
//   daemon -> client   {"ok":true, …}; after a claim with two descriptors: VM channel and pidfd
//                      {"ok":false,"error":TEXT,"kind":"template"|"limit"|"request"}
//                      {"ended":TEXT}  the VM of this connection has ended, later and once
//
// A client has one VM at most, and gives it back by closing its connection. The daemon takes no
// descriptors and believes nothing: what is too long, no JSON, or has fields of other kinds is
// answered with an error, and that connection closed.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/pool.h"

namespace thimble {

constexpr size_t kMaxRequest = 4096;             // bytes
constexpr size_t kMaxReply = size_t{192} << 10;  // fits into a socket's buffer
constexpr size_t kReplyDescriptors = 2;

struct DaemonRequest {
  enum class Op { kClaim, kWarm, kStatus, kStop };
  Op op = Op::kStatus;
  TemplateId id;         // kClaim, kWarm
  bool console = false;  // kClaim
  std::string label;     // kClaim: what the client calls it, for people; printable
  size_t warm_vms = 0;   // kWarm
};

Result<DaemonRequest> parse_request(std::string_view datagram);
std::string write_request(const DaemonRequest& request);

// Sends without waiting. False when it does not go out whole.
bool send_datagram(int socket, std::string_view text, std::span<const int> descriptors = {});

struct Datagram {
  std::string text;
  std::vector<Fd> descriptors;
  bool cut = false;  // it was longer than `max`
};
// What is there: nothing when there is nothing yet, an empty text at the end of the connection.
// With `descriptors` as many are taken; more are dropped.
std::optional<Datagram> receive_datagram(int socket, size_t max, size_t descriptors);

// The uid of the process at the other end, as the kernel knows it.
std::optional<uid_t> peer_uid(int socket);

}  // namespace thimble
