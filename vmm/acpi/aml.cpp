// See aml.h. Opcodes are those of ACPI 6.4, 20.3.
#include "vmm/acpi/aml.h"

#include <algorithm>
#include <string>

namespace thimble::aml {

namespace {

constexpr uint8_t kZero = 0x00;
constexpr uint8_t kOne = 0x01;
constexpr uint8_t kName = 0x08;
constexpr uint8_t kByte = 0x0a;
constexpr uint8_t kWord = 0x0b;
constexpr uint8_t kDword = 0x0c;
constexpr uint8_t kString = 0x0d;
constexpr uint8_t kQword = 0x0e;
constexpr uint8_t kScope = 0x10;
constexpr uint8_t kBuffer = 0x11;
constexpr uint8_t kPackage = 0x12;
constexpr uint8_t kMethod = 0x14;
constexpr uint8_t kTwoSegments = 0x2e;
constexpr uint8_t kManySegments = 0x2f;
constexpr uint8_t kExtended = 0x5b;
constexpr uint8_t kDevice = 0x82;
constexpr uint8_t kNotify = 0x86;

constexpr uint8_t kPortDescriptor = 0x47;  // small, type 8, seven bytes
constexpr uint8_t kMemory32Descriptor = 0x86;
constexpr uint8_t kInterruptDescriptor = 0x89;
constexpr uint8_t kEndTag = 0x79;
constexpr uint8_t kConsumerEdge = 0x03;  // bit 0 consumer, bit 1 edge; active high, exclusive

void append_number(Bytes& to, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) to.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

Bytes with_length(std::initializer_list<uint8_t> opcode, const Bytes& body) {
  Bytes out(opcode);
  append(out, package_length(body.size()));
  append(out, body);
  return out;
}

uint8_t hex_digit(char c) {
  return static_cast<uint8_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

}  // namespace

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

Bytes sequence(std::initializer_list<Bytes> terms) {
  Bytes out;
  for (const Bytes& term : terms) append(out, term);
  return out;
}

Bytes package_length(uint64_t body_bytes) {
  // One byte holds six bits. More bytes: four bits in the first, whose top two bits count the
  // others, and eight in each that follows.
  if (body_bytes + 1 < 64) return {static_cast<uint8_t>(body_bytes + 1)};
  unsigned more = 1;
  while (more < 3 && body_bytes + 1 + more >= (1ULL << (4 + 8 * more))) ++more;
  const uint64_t length = body_bytes + 1 + more;
  Bytes out = {static_cast<uint8_t>((more << 6) | (length & 0xf))};
  append_number(out, length >> 4, more);
  return out;
}

Bytes path(std::string_view name) {
  Bytes out;
  if (name.starts_with('\\')) {
    out.push_back('\\');
    name.remove_prefix(1);
  }
  const auto segments = static_cast<size_t>(std::ranges::count(name, '.')) + 1;
  if (segments == 2) out.push_back(kTwoSegments);
  if (segments > 2) {
    out.push_back(kManySegments);
    out.push_back(static_cast<uint8_t>(segments));
  }
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    std::string segment(name.substr(at, end - at));
    segment.resize(4, '_');
    out.insert(out.end(), segment.begin(), segment.end());
    at = end + 1;
  }
  return out;
}

Bytes integer(uint64_t value) {
  if (value == 0) return {kZero};
  if (value == 1) return {kOne};
  Bytes out;
  if (value <= 0xff) {
    out.push_back(kByte);
    append_number(out, value, 1);
  } else if (value <= 0xffff) {
    out.push_back(kWord);
    append_number(out, value, 2);
  } else if (value <= 0xffffffff) {
    out.push_back(kDword);
    append_number(out, value, 4);
  } else {
    out.push_back(kQword);
    append_number(out, value, 8);
  }
  return out;
}

Bytes string(std::string_view value) {
  Bytes out(value.size() + 2);  // ends with a zero
  out[0] = kString;
  std::ranges::copy(value, out.begin() + 1);
  return out;
}

Bytes eisa_id(std::string_view id) {
  // Letters are five bits each ('A' is 1), digits four; the bytes stand in big-endian order.
  uint32_t packed = 0;
  for (const char letter : id.substr(0, 3)) {
    packed = (packed << 5) | static_cast<uint32_t>(letter - '@');
  }
  for (const char digit : id.substr(3, 4)) packed = (packed << 4) | hex_digit(digit);
  Bytes out = {kDword};
  append_number(out, __builtin_bswap32(packed), 4);
  return out;
}

Bytes package(std::initializer_list<Bytes> elements) {
  Bytes body = {static_cast<uint8_t>(elements.size())};
  append(body, sequence(elements));
  return with_length({kPackage}, body);
}

Bytes buffer(const Bytes& content) {
  return with_length({kBuffer}, sequence({integer(content.size()), content}));
}

Bytes define(std::string_view name, const Bytes& value) {
  return sequence({{kName}, path(name), value});
}

Bytes scope(std::string_view name, const Bytes& body) {
  return with_length({kScope}, sequence({path(name), body}));
}

Bytes device(std::string_view name, const Bytes& body) {
  return with_length({kExtended, kDevice}, sequence({path(name), body}));
}

Bytes method(std::string_view name, unsigned arguments, const Bytes& body) {
  return with_length({kMethod},
                     sequence({path(name), {static_cast<uint8_t>(arguments & 7)}, body}));
}

Bytes notify(std::string_view object, uint8_t value) {
  return sequence({{kNotify}, path(object), integer(value)});
}

Bytes resources(std::initializer_list<Bytes> descriptors) {
  Bytes content = sequence(descriptors);
  content.push_back(kEndTag);
  content.push_back(0);  // no checksum
  return buffer(content);
}

Bytes memory32(Gpa base, uint32_t size) {
  Bytes out = {kMemory32Descriptor};
  append_number(out, 9, 2);
  out.push_back(1);  // writable
  append_number(out, base, 4);
  append_number(out, size, 4);
  return out;
}

Bytes port_range(uint16_t base, uint8_t size) {
  Bytes out = {kPortDescriptor, 1};  // decodes 16 bits
  append_number(out, base, 2);       // lowest and
  append_number(out, base, 2);       // highest base
  out.push_back(1);                  // alignment
  out.push_back(size);
  return out;
}

Bytes edge_interrupt(uint32_t pin) {
  Bytes out = {kInterruptDescriptor};
  append_number(out, 6, 2);
  out.push_back(kConsumerEdge);
  out.push_back(1);  // one interrupt
  append_number(out, pin, 4);
  return out;
}

}  // namespace thimble::aml
