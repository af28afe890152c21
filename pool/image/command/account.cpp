// See account.h.
#include "pool/image/command/account.h"

#include <charconv>
#include <string_view>

namespace thimble::image {
namespace {

std::uint32_t number_of(std::string_view text) {
  if (text == "user") return 1000;
  if (text == "nobody" || text == "nogroup") return 65534;
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace

Account find_account(const std::string& user) {
  const std::size_t colon = user.find(':');
  const std::string_view name = std::string_view(user).substr(0, colon);
  const std::uint32_t uid = number_of(name);
  if (colon != std::string::npos) {
    return {uid, number_of(std::string_view(user).substr(colon + 1))};
  }
  // A bare number has a group only where the image knows it; the name of ours has its own.
  return {uid, uid};
}

}  // namespace thimble::image
