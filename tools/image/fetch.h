// What a build may have fetched for it. The build itself has no network: it asks, and a process in
// a jail of its own (fetcher.h) that sees nothing but the package manager's work gets it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

struct Fetch {
  enum class Kind {
    kPackage,  // the npm package of the request; once, before anything of a package is looked at
    kPinned,   // a tool of this project's own choice, into the cache: `names` has its npm name
    kDebian,   // packages of Debian by name
  };
  Kind kind = Kind::kPackage;
  std::vector<std::string> names = {};
};

// Where what was fetched lies, relative to the build folder, until the build takes it.
inline constexpr const char* kFetchedPackage = "fetched/package";
inline constexpr const char* kFetchedDebian = "fetched/debian";

using Fetcher = std::function<Result<void>(const Fetch&)>;

// As a message. The reader takes nothing but sound ones: names are names of packages.
std::string to_message(const Fetch& fetch);
Result<Fetch> fetch_from_message(std::string_view message);

}  // namespace thimble::image
