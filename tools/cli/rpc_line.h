// What a line of JSON-RPC is to whoever passes it on: which requests it makes, and which it
// answers. Nothing is kept of the rest, however large or deep it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::cli {

struct RpcMessage {
  // kUnclear: none of the others, such as a method that is no text or a request whose id is null.
  enum class Kind { kRequest, kNotification, kAnswer, kUnclear };
  Kind kind = Kind::kUnclear;
  // The same for 1 and 1.0, which a server may make of each other; another for "1". Empty where it
  // is missing, null or neither text nor number.
  std::string id;
  std::string cancels;  // the id that a notifications/cancelled names, or empty
};

// The messages of a line: one, or those of a batch. Nothing for what is not JSON.
std::optional<std::vector<RpcMessage>> read_rpc_line(std::string_view line);

}  // namespace thimble::cli
