// See entry.h.
#include "pool/image/command/entry.h"

#include "devices/foreign_json.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kLongestPackage = 1 << 20;

bool is_there(const fs::path& file) {
  std::error_code code;
  return fs::is_regular_file(file, code);
}

// A file as require() finds it.
bool is_module(const fs::path& file) {
  for (const char* extension : {"", ".js", ".json", ".node"}) {
    if (is_there(file.string() + extension)) return true;
  }
  return false;
}

std::string main_of(const fs::path& directory) {
  std::error_code code;
  const fs::path file = directory / "package.json";
  if (!is_there(file) || fs::file_size(file, code) > kLongestPackage) return {};
  const auto package = read_foreign_json(read_file(file).value_or(""));
  const auto main = package.is_object() ? package.find("main") : package.end();
  return package.is_object() && main != package.end() && main->is_string()
             ? main->get<std::string>()
             : std::string();
}

}  // namespace

std::string missing_entry(Runtime runtime, const fs::path& directory) {
  const std::string shown = directory.string();
  if (runtime == Runtime::kPython) {
    return is_there(directory / "__main__.py")
               ? std::string()
               : shown + ": python3 finds no __main__.py in this directory: name the script";
  }
  if (runtime != Runtime::kNode || is_module(directory / "index")) return {};
  const std::string main = main_of(directory);
  if (main.empty()) {
    return shown +
           ": node finds no index.js in this directory, and no \"main\" in a package.json: name "
           "the script";
  }
  if (is_module(directory / main) || is_module(directory / main / "index")) return {};
  return shown + ": \"main\" of its package.json is " + main +
         ", which is not there: build the project, or "
         "name the script";
}

}  // namespace thimble::image
