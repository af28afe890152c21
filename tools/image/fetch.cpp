// See fetch.h. A message is lines: the kind, then the names.
#include "tools/image/fetch.h"

#include <algorithm>
#include <array>

#include "pool/image/request.h"

namespace thimble::image {
namespace {

constexpr std::array<std::string_view, 3> kKinds = {"package", "pinned", "debian"};
constexpr std::size_t kMaxNames = 64;
constexpr std::size_t kLongestName = 100;

bool is_debian_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= kLongestName && plain(name[0]) &&
         std::ranges::all_of(name,
                             [&](char c) { return plain(c) || c == '+' || c == '-' || c == '.'; });
}

bool is_sound(const Fetch& fetch) {
  switch (fetch.kind) {
    case Fetch::Kind::kPackage:
      return fetch.names.empty();
    case Fetch::Kind::kPinned:
      return fetch.names.size() == 1;
    case Fetch::Kind::kDebian:
      return !fetch.names.empty() && fetch.names.size() <= kMaxNames &&
             std::ranges::all_of(fetch.names, is_debian_name);
  }
  return false;
}

}  // namespace

std::string to_message(const Fetch& fetch) {
  std::string message(kKinds[static_cast<std::size_t>(fetch.kind)]);
  for (const std::string& name : fetch.names) message += "\n" + name;
  return message;
}

Result<Fetch> fetch_from_message(std::string_view message) {
  const std::size_t line = std::min(message.find('\n'), message.size());
  const auto kind = std::ranges::find(kKinds, message.substr(0, line));
  if (kind == kKinds.end()) return fail("fetch for the build: not something that is fetched");
  Fetch fetch{.kind = static_cast<Fetch::Kind>(kind - kKinds.begin())};
  message.remove_prefix(line);
  while (!message.empty() && fetch.names.size() <= kMaxNames) {
    message.remove_prefix(1);
    const std::size_t end = std::min(message.find('\n'), message.size());
    fetch.names.emplace_back(message.substr(0, end));
    message.remove_prefix(end);
  }
  if (!is_sound(fetch)) return fail("fetch for the build: not names of packages");
  return fetch;
}

}  // namespace thimble::image
