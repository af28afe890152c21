// See fetcher.h.
#include "tools/image/fetcher.h"

#include <cstdlib>

#include "tools/image/channel.h"
#include "tools/image/debian.h"
#include "tools/image/fetch.h"
#include "tools/image/jail/system.h"
#include "tools/image/npm_settings.h"
#include "tools/image/worker.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

JailOptions fetching(const BuildLimits& limits, const fs::path& folder) {
  JailOptions options{.root = building_tree(), .network = true, .limits = limits};
  options.root.mounts.push_back({.from = folder, .to = kBuildFolder, .writable = true});
  add_name_service(options.root);
  return options;
}

int report(const Result<void>& done, int channel) {
  send_message(channel, done ? Message::kDone : Message::kError,
               done ? std::string_view() : done.error().message);
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

JailOptions package_fetch(const BuildLimits& limits, const fs::path& folder) {
  JailOptions options = fetching(limits, folder);
  NpmSettings settings = read_npm_settings();
  for (auto& file : settings.files) options.root.files.push_back(std::move(file));
  options.environment = std::move(settings.environment);
  return options;
}

JailOptions debian_fetch(const BuildLimits& limits, const fs::path& folder) {
  JailOptions options = fetching(limits, folder);
  options.environment = proxy_variables();
  return options;
}

int fetch_package_in_jail(const NpmSpec& spec, int channel) {
  return report(fetch_package(spec, kBuildFolder), channel);
}

int fetch_pinned_in_jail(const PinnedPackage& package, int channel) {
  return report(fetch_pinned(package, kBuildFolder), channel);
}

int fetch_debian_in_jail(const std::vector<std::string>& names, int channel) {
  return report(fetch_debian(names, kBuildFolder), channel);
}

}  // namespace thimble::image
