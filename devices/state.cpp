// Writing and reading of described state; the encoding is explained in state.h.
#include "devices/state.h"

#include <cstring>

#include "devices/text.h"

namespace thimble {

namespace {
constexpr size_t kLengthBytes = sizeof(uint32_t);
}

void StateWriter::put_header(std::string_view name, size_t length) {
  out_.push_back(static_cast<uint8_t>(name.size()));
  out_.insert(out_.end(), name.begin(), name.end());
  const auto value = static_cast<uint32_t>(length);
  const auto* raw = reinterpret_cast<const uint8_t*>(&value);
  out_.insert(out_.end(), raw, raw + kLengthBytes);
}

void StateWriter::bytes(std::string_view name, std::span<uint8_t> value) {
  put_header(name, value.size());
  out_.insert(out_.end(), value.begin(), value.end());
}

void StateWriter::field(std::string_view name, std::vector<uint8_t>& value, size_t /*limit*/) {
  bytes(name, value);
}

void StateWriter::begin(std::string_view name) {
  put_header(name, 0);
  open_.push_back(out_.size());
}

void StateWriter::end(std::string_view /*name*/) {
  const size_t start = open_.back();
  open_.pop_back();
  const auto length = static_cast<uint32_t>(out_.size() - start);
  std::memcpy(out_.data() + start - kLengthBytes, &length, kLengthBytes);
}

bool StateReader::take_header(std::string_view name, size_t& length) {
  if (!error_.empty()) return false;
  const size_t limit = ends_.empty() ? in_.size() : ends_.back();
  const size_t need = 1 + name.size() + kLengthBytes;
  const bool matches = limit - at_ >= need && in_[at_] == name.size() &&
                       std::memcmp(in_.data() + at_ + 1, name.data(), name.size()) == 0;
  if (!matches) {
    error_ = text("state: field '%.*s' is missing at offset %zu", static_cast<int>(name.size()),
                  name.data(), at_);
    return false;
  }
  uint32_t value = 0;
  std::memcpy(&value, in_.data() + at_ + 1 + name.size(), kLengthBytes);
  if (value > limit - at_ - need) {
    error_ =
        text("state: field '%.*s' runs past its end", static_cast<int>(name.size()), name.data());
    return false;
  }
  at_ += need;
  length = value;
  return true;
}

void StateReader::refuse(std::string_view name) {
  if (!error_.empty()) return;
  error_ = text("state: field '%.*s' has a wrong size", static_cast<int>(name.size()), name.data());
}

void StateReader::bytes(std::string_view name, std::span<uint8_t> value) {
  size_t length = 0;
  if (!take_header(name, length)) return;
  if (length != value.size()) return refuse(name);
  std::memcpy(value.data(), in_.data() + at_, length);
  at_ += length;
}

void StateReader::field(std::string_view name, std::vector<uint8_t>& value, size_t limit) {
  size_t length = 0;
  if (!take_header(name, length)) return;
  if (length > limit) return refuse(name);
  value.assign(in_.begin() + static_cast<ptrdiff_t>(at_),
               in_.begin() + static_cast<ptrdiff_t>(at_ + length));
  at_ += length;
}

void StateReader::begin(std::string_view name) {
  size_t length = 0;
  if (take_header(name, length)) ends_.push_back(at_ + length);
}

void StateReader::end(std::string_view name) {
  if (!error_.empty()) return;
  if (at_ != ends_.back()) return refuse(name);
  ends_.pop_back();
}

Result<void> StateReader::finish() const {
  if (!error_.empty()) return fail(error_);
  if (at_ != in_.size()) return fail("state: bytes are left over at the end");
  return {};
}

}  // namespace thimble
