// Subcommands that live in other rooms, which take C argument vectors with the subcommand's own
// name first.
#include "tools/cli/commands.h"
#include "tools/cli/guest_files.h"
#include "tools/doctor/doctor.h"
#include "tools/image/command.h"

namespace thimble::cli {

namespace {

int call(int (*main)(int, char**), std::string name, Arguments arguments) {
  std::vector<char*> argv{name.data()};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  return main(static_cast<int>(argv.size()) - 1, argv.data());
}

}  // namespace

int image_command(const Arguments& arguments) {
  return call(image::image_main, "image", arguments);
}

int prepare_command(const Arguments& arguments) {
  return call(image::prepare_main, "prepare", arguments);
}

int doctor_command(const Arguments& arguments) {
  doctor::Places places;
  places.cache = cache_directory();
  if (auto kernel = find_kernel(""); kernel) places.kernel = kernel->string();
  return doctor::doctor_main(arguments, places);
}

}  // namespace thimble::cli
