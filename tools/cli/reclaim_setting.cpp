// See reclaim_setting.h.
#include "tools/cli/reclaim_setting.h"

#include <cstdlib>

#include "devices/text.h"
#include "tools/cli/say.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kVariable = "THIMBLE_RECLAIM_AFTER";
constexpr const char* kEarlierVariable = "THIMBLE_REST_AFTER";
constexpr const char* kDefault = "500ms";

}  // namespace

Result<std::optional<std::chrono::milliseconds>> reclaim_setting() {
  const char* value = std::getenv(kVariable);
  if (value == nullptr) {
    value = std::getenv(kEarlierVariable);
    if (value != nullptr) say(text("%s is called %s now", kEarlierVariable, kVariable));
  }
  auto after = parse_duration_or_never(value != nullptr ? value : kDefault);
  if (!after) return fail_in(kVariable, after);
  return after;
}

}  // namespace thimble::cli
