// `thimble doctor`: where this user's files are; all else is tools/doctor's.
#include "tools/doctor/doctor.h"

#include "tools/cli/commands.h"
#include "tools/cli/guest_files.h"

namespace thimble::cli {

int doctor_command(const Arguments& arguments) {
  doctor::Places places;
  places.cache = cache_directory();
  if (auto kernel = find_kernel(""); kernel) places.kernel = kernel->string();
  return doctor::doctor_main(arguments, places);
}

}  // namespace thimble::cli
