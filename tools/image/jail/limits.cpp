// See limits.h.
#include "tools/image/jail/limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

namespace thimble::image {
namespace {

constexpr std::uint64_t kMaxSetting = std::uint64_t{1} << 40;
constexpr rlim_t kDescriptors = 65536;
// Of all processes of the jail; node has a dozen threads.
constexpr rlim_t kTasks = 512;

Result<void> read_setting(const char* name, std::uint64_t& value) {
  const char* set = std::getenv(name);
  if (set == nullptr || *set == '\0') return {};
  const std::string_view text(set);
  std::uint64_t read = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc() || end != text.data() + text.size() || read == 0 || read > kMaxSetting) {
    return fail(std::string(name) + "=" + set + ": must be a whole number from 1 on");
  }
  value = read;
  return {};
}

Result<void> limit(decltype(RLIMIT_AS) resource, const char* name, rlim_t max) {
  rlimit now{};
  ::getrlimit(resource, &now);
  // What the user has set stays set; 1024 descriptors are nobody's wish.
  const rlim_t value = std::min(max, resource == RLIMIT_NOFILE ? now.rlim_max : now.rlim_cur);
  const rlimit wanted{.rlim_cur = value, .rlim_max = value};
  if (::setrlimit(resource, &wanted) != 0) return fail_errno(std::string("setrlimit ") + name);
  return {};
}

}  // namespace

Result<BuildLimits> build_limits() {
  BuildLimits limits;
  auto seconds = static_cast<std::uint64_t>(limits.time.count());
  std::uint64_t mebibytes = limits.bytes >> 20;
  Result<void> done = read_setting("THIMBLE_BUILD_SECONDS", seconds);
  if (done) done = read_setting("THIMBLE_BUILD_MIB", mebibytes);
  if (done) done = read_setting("THIMBLE_BUILD_FILES", limits.files);
  if (!done) return std::unexpected(done.error());
  limits.time = std::chrono::seconds(std::min(seconds, std::uint64_t{1} << 30));
  limits.bytes = mebibytes << 20;
  return limits;
}

Result<void> set_limits(const BuildLimits& limits) {
  Result<void> done = limit(RLIMIT_CORE, "CORE", 0);
  if (done) done = limit(RLIMIT_NOFILE, "NOFILE", kDescriptors);
  if (done) done = limit(RLIMIT_NPROC, "NPROC", kTasks);
  if (done) done = limit(RLIMIT_MSGQUEUE, "MSGQUEUE", 0);
  if (done) done = limit(RLIMIT_FSIZE, "FSIZE", limits.bytes);
  // Not the address space: node reserves more of it than any host has memory.
  if (done) done = limit(RLIMIT_DATA, "DATA", limits.memory);
  return done;
}

}  // namespace thimble::image
