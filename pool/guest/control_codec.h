// Fields and messages of the control protocol (guest-init/protocol.h), host side: encoding
// requests, and decoding what a guest sent without believing any of it.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "devices/result.h"
#include "pool/guest/guest_control.h"

namespace thimble {

// Collects the fields of one payload.
class FieldWriter {
 public:
  void add(uint16_t tag, std::span<const uint8_t> value);
  void add_text(uint16_t tag, std::string_view value);
  template <class T>
  void add_number(uint16_t tag, T value) {
    add(tag, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
  }
  [[nodiscard]] std::vector<uint8_t> take() { return std::move(payload_); }

 private:
  std::vector<uint8_t> payload_;
};

Result<std::vector<uint8_t>> encode_identity(const GuestIdentity& identity);
// `process`: its number, protocol::kServerProcess for the server.
Result<std::vector<uint8_t>> encode_server(const ServerSpec& server, uint32_t process);

// Decodes a message from the guest: every tag known to the type, of its exact size, at most once;
// what the type needs is there.
Result<GuestEvent> decode_guest_message(uint16_t type, std::span<const uint8_t> payload);

}  // namespace thimble
