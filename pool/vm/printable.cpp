// See printable.h.
#include "pool/vm/printable.h"

#include "devices/text.h"

namespace thimble {

std::string printable(std::string_view text_in, size_t limit) {
  std::string out;
  for (const char c : text_in.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else if (c == '\t') {
      out += ' ';
    } else {
      out += text("\\x%02x", byte);
    }
  }
  if (text_in.size() > limit) out += "…";
  return out;
}

}  // namespace thimble
