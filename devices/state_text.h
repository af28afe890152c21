// Text as a field of described state (state.h).
#pragma once

#include <string>

#include "devices/state.h"

namespace thimble {

// At most `limit` bytes, any of them.
inline void text_field(StateVisitor& visitor, std::string_view name, std::string& value,
                       size_t limit) {
  std::vector<uint8_t> raw(value.begin(), value.end());
  visitor.field(name, raw, limit);
  value.assign(raw.begin(), raw.end());
}

}  // namespace thimble
