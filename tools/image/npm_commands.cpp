// See npm_commands.h.
#include "tools/image/npm_commands.h"

#include "tools/image/beneath.h"
#include "tools/image/bins.h"

namespace thimble::image {
namespace fs = std::filesystem;

Result<void> add_commands(Building& building, const fs::path& app, InstalledPackage& installed,
                          Manifest& manifest) {
  const Result<Folder> folder = Folder::open(app);
  if (!folder) return std::unexpected(folder.error());
  for (const auto& [name, file] : installed.bins) {
    Result<std::vector<std::string>> argv =
        command_of_bin(*folder, file, std::string(kGuestApp) + "/" + file);
    if (!argv) {
      installed.unusable[name] = argv.error().message;
      continue;
    }
    manifest.commands[name] = std::move(*argv);
    if (Result<void> set = folder->set_mode(file, 0755); !set) return set;
  }
  if (!installed.unusable.empty()) {
    building.inputs["unusable_commands"] = installed.unusable;
    building.inputs["default_command"] = installed.default_bin;
  }
  if (!manifest.commands.empty()) return {};
  auto first = installed.unusable.find(installed.default_bin);
  if (first == installed.unusable.end()) first = installed.unusable.begin();
  const auto& [name, why] = *first;
  return fail("command " + name + ": " + why + ": use `thimble image build DIR`");
}

}  // namespace thimble::image
