// See rest_setting.h.
#include "tools/cli/rest_setting.h"

#include <cstdlib>

#include "tools/cli/units.h"

namespace thimble::cli {

Result<std::optional<std::chrono::milliseconds>> rest_setting() {
  const char* value = std::getenv(kRestAfterVariable);
  auto after = parse_duration_or_never(value != nullptr ? value : kDefaultRestAfter);
  if (!after) return fail_in(kRestAfterVariable, after);
  return after;
}

}  // namespace thimble::cli
