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
  const char* name = kVariable;
  const char* value = std::getenv(name);
  if (value == nullptr && std::getenv(kEarlierVariable) != nullptr) {
    name = kEarlierVariable;
    value = std::getenv(name);
    say(text("%s is called %s now", kEarlierVariable, kVariable));
  }
  auto after = parse_duration_or_never(value != nullptr ? value : kDefault);
  if (!after) return fail_in(name, after);
  return after;
}

}  // namespace thimble::cli
