// See units.h.
#include "tools/cli/units.h"

#include <charconv>
#include <limits>
#include <string>

#include "devices/text.h"

namespace thimble::cli {

namespace {

// Splits "512M" into 512 and "M"; false without digits in front or when they overflow.
bool split_number(std::string_view text, uint64_t& number, std::string_view& unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) return false;
  unit = text.substr(static_cast<size_t>(end - text.data()));
  return true;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// 0 for what is no unit.
uint64_t size_unit(std::string_view unit) {
  const bool known = unit.size() == 1 || (unit.size() == 3 && unit.substr(1) == "iB");
  if (!known) return 0;
  switch (lower(unit[0])) {
    case 'k':
      return 1ULL << 10;
    case 'm':
      return 1ULL << 20;
    case 'g':
      return 1ULL << 30;
    default:
      return 0;
  }
}

uint64_t milliseconds_of(std::string_view unit) {
  if (unit == "ms") return 1;
  if (unit.empty() || unit == "s") return 1000;
  if (unit == "m") return 60'000;
  if (unit == "h") return 3'600'000;
  if (unit == "d") return 86'400'000;
  return 0;
}

// Scales with an overflow check.
bool scale(uint64_t number, uint64_t unit, uint64_t limit, uint64_t& out) {
  return unit != 0 && !__builtin_mul_overflow(number, unit, &out) && out <= limit;
}

}  // namespace

Result<uint64_t> parse_size(std::string_view in) {
  uint64_t number = 0;
  uint64_t bytes = 0;
  std::string_view unit;
  if (!split_number(in, number, unit) ||
      !scale(number, size_unit(unit), std::numeric_limits<int64_t>::max(), bytes)) {
    return fail("'" + std::string(in) + "' is no size: write 512M or 1G");
  }
  return bytes;
}

Result<std::chrono::milliseconds> parse_duration(std::string_view in) {
  constexpr uint64_t kLimit = 1000ULL * 3600 * 24 * 365;
  uint64_t number = 0;
  uint64_t milliseconds = 0;
  std::string_view unit;
  if (!split_number(in, number, unit) ||
      !scale(number, milliseconds_of(unit), kLimit, milliseconds)) {
    return fail("'" + std::string(in) + "' is no duration: write 500ms, 10s, 5m, 2h or 30d");
  }
  return std::chrono::milliseconds(milliseconds);
}

Result<std::optional<std::chrono::milliseconds>> parse_duration_or_never(std::string_view text) {
  if (text == "never") return std::nullopt;
  auto duration = parse_duration(text);
  if (!duration) return std::unexpected(duration.error());
  return *duration;
}

std::string format_size(uint64_t bytes) {
  const auto* const names = "KMG";
  for (int i = 2; i >= 0; --i) {
    const uint64_t unit = 1ULL << (10 * (i + 1));
    if (bytes >= unit && bytes % unit == 0) {
      return text("%llu%c", static_cast<unsigned long long>(bytes / unit), names[i]);
    }
  }
  return text("%llu bytes", static_cast<unsigned long long>(bytes));
}

}  // namespace thimble::cli
