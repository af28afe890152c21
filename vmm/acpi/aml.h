// A writer for the little AML that our tables need (ACPI 6.4, chapter 20): each function returns
// the bytes of one term, and terms nest by being passed to one another.
//
// A term with a body carries its length in front, in one to four bytes; the length counts itself.
// Names are segments of four characters, padded with '_'; "\\_SB_.VGEN" is a path from the root.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "devices/guest_memory.h"

namespace thimble::aml {

using Bytes = std::vector<uint8_t>;

// The bytes of all terms one after another.
Bytes sequence(std::initializer_list<Bytes> terms);
void append(Bytes& to, const Bytes& more);

// The length of a body, counting the bytes of the length itself (20.2.4). Up to 256 MiB.
Bytes package_length(uint64_t body_bytes);
// "\\", segments of up to four characters joined by '.' (20.2.2).
Bytes path(std::string_view name);

Bytes integer(uint64_t value);
Bytes string(std::string_view value);  // ASCII
// Three capital letters and four hexadecimal digits, "PNP0501", packed into an integer (19.3.4).
Bytes eisa_id(std::string_view id);
Bytes package(std::initializer_list<Bytes> elements);
Bytes buffer(const Bytes& content);

Bytes define(std::string_view name, const Bytes& value);  // Name (name, value)
Bytes scope(std::string_view name, const Bytes& body);
Bytes device(std::string_view name, const Bytes& body);
Bytes method(std::string_view name, unsigned arguments, const Bytes& body);
Bytes notify(std::string_view object, uint8_t value);

// A resource template (6.4): descriptors with the end tag.
Bytes resources(std::initializer_list<Bytes> descriptors);
Bytes memory32(Gpa base, uint32_t size);  // read-write, fixed
Bytes port_range(uint16_t base, uint8_t size);
Bytes edge_interrupt(uint32_t pin);  // edge-triggered, active high, exclusive

}  // namespace thimble::aml
