// Builds and takes apart messages of the control protocol on the host's side of a test.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "guest-init/protocol.h"

namespace thimble::test {

template <class T>
std::string raw(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// A payload: fields appended one after the other.
class Fields {
 public:
  Fields& add(uint16_t tag, std::string_view value) {
    const protocol::FieldHeader header{tag, 0, static_cast<uint32_t>(value.size())};
    bytes_ += raw(header);
    bytes_ += value;
    return *this;
  }
  Fields& add_u32(uint16_t tag, uint32_t value) { return add(tag, raw(value)); }
  Fields& add_u64(uint16_t tag, uint64_t value) { return add(tag, raw(value)); }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

inline std::string frame(uint16_t type, std::string_view payload) {
  const protocol::FrameHeader header{static_cast<uint32_t>(payload.size()), type, 0};
  return raw(header) + std::string(payload);
}

struct Message {
  uint16_t type = 0;  // 0: the channel was closed
  std::vector<std::pair<uint16_t, std::string>> fields;

  [[nodiscard]] bool has(uint16_t tag) const {
    for (const auto& field : fields) {
      if (field.first == tag) return true;
    }
    return false;
  }
  [[nodiscard]] std::string text(uint16_t tag) const {
    for (const auto& field : fields) {
      if (field.first == tag) return field.second;
    }
    return {};
  }
  [[nodiscard]] uint32_t u32(uint16_t tag) const {
    uint32_t value = UINT32_MAX;
    const std::string bytes = text(tag);
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

inline Message parse_message(uint16_t type, std::string_view payload) {
  Message message{type, {}};
  while (payload.size() >= sizeof(protocol::FieldHeader)) {
    protocol::FieldHeader header;
    std::memcpy(&header, payload.data(), sizeof header);
    payload.remove_prefix(sizeof header);
    if (header.length > payload.size()) break;
    message.fields.emplace_back(uint16_t{header.tag}, payload.substr(0, header.length));
    payload.remove_prefix(header.length);
  }
  return message;
}

}  // namespace thimble::test
