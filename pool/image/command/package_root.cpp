// See package_root.h.
#include "pool/image/command/package_root.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxPackageJson = 4 << 20;

bool is_there(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code);
}

bool is_folder(const fs::path& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}

std::string package_json(const fs::path& directory) {
  const Result<std::string> text = read_file(directory / "package.json", kMaxPackageJson);
  return text ? *text : std::string();
}

// {"type":"module"}, perhaps with "sideEffects": for the loader, not the root of anything.
bool is_bare(const fs::path& directory) {
  constexpr std::uint64_t kLongest = 256;
  std::error_code code;
  if (fs::file_size(directory / "package.json", code) > kLongest || code) return false;
  const json package = read_foreign_json(package_json(directory));
  if (!package.is_object() || package.empty()) return false;
  return std::ranges::all_of(package.items(), [](const auto& member) {
    return member.key() == "type" || member.key() == "sideEffects";
  });
}

enum class Mark { kNone, kBare, kRoot };

Mark mark_of(const fs::path& directory) {
  for (const char* mark : {"pyproject.toml", "setup.py", ".git"}) {
    if (is_there(directory / mark)) return Mark::kRoot;
  }
  if (!is_there(directory / "package.json")) return Mark::kNone;
  return is_bare(directory) ? Mark::kBare : Mark::kRoot;
}

// p/node_modules/x and p/node_modules/@scope/x: nothing above belongs to the package.
bool is_installed_package(const fs::path& directory) {
  const fs::path above = directory.parent_path();
  return above.filename() == "node_modules" || (above.filename().string().starts_with('@') &&
                                                above.parent_path().filename() == "node_modules");
}

bool is_workspace(const fs::path& directory) {
  if (is_there(directory / "pnpm-workspace.yaml")) return true;
  const std::string text = package_json(directory);
  // Reading JSON costs more than all the rest of a start's planning.
  if (text.find("\"workspaces\"") == std::string::npos) return false;
  const json package = read_foreign_json(text);
  return package.is_object() && package.contains("workspaces");
}

// The highest folder above a node_modules that `directory` is in, or `directory`.
fs::path out_of_node_modules(const fs::path& directory) {
  fs::path outside = directory;
  for (fs::path at = directory; at != at.root_path(); at = at.parent_path()) {
    if (at.filename() == "node_modules") outside = at.parent_path();
  }
  return outside;
}

fs::path workspace_above(const fs::path& directory, const Places& places) {
  for (fs::path at = directory; at != at.root_path(); at = at.parent_path()) {
    if (places.is_forbidden(at)) return {};
    if (is_workspace(at)) return at;
  }
  return {};
}

// Whether every dependency that the package names is in its own node_modules.
bool has_its_dependencies(const fs::path& root) {
  const json package = read_foreign_json(package_json(root));
  if (!package.is_object()) return false;
  const auto dependencies = package.find("dependencies");
  if (dependencies == package.end() || !dependencies->is_object()) return false;
  return std::ranges::all_of(dependencies->items(), [&](const auto& dependency) {
    return is_there(root / "node_modules" / dependency.key());
  });
}

// What node finds outside of the package: every node_modules above it.
std::vector<fs::path> outer_modules(const fs::path& root) {
  std::vector<fs::path> found;
  for (fs::path at = root; at != at.root_path(); at = at.parent_path()) {
    const fs::path above = at.parent_path();
    const fs::path modules = above.filename() == "node_modules" ? above : above / "node_modules";
    if (is_folder(modules) && !is_system(above)) found.push_back(modules);
  }
  return found;
}

}  // namespace

fs::path package_root(const fs::path& directory, const Places& places) {
  fs::path bare;
  for (fs::path at = directory; !places.is_forbidden(at); at = at.parent_path()) {
    const Mark mark = mark_of(at);
    if (mark == Mark::kRoot) return at;
    if (mark == Mark::kBare) bare = at;
    if (is_installed_package(at)) return bare.empty() ? at : bare;
    if (at == at.root_path()) break;
  }
  return bare;
}

fs::path project_root(const fs::path& directory, const Places& places) {
  const fs::path outside = out_of_node_modules(directory);
  fs::path root = workspace_above(outside, places);
  if (root.empty()) root = package_root(outside, places);
  if (root.empty() && outside != directory) root = outside / "node_modules";
  return root;
}

std::vector<fs::path> program_folders(const fs::path& directory, const Places& places, bool node) {
  if (node) {
    const fs::path workspace = workspace_above(out_of_node_modules(directory), places);
    if (!workspace.empty()) return {workspace};
  }
  std::vector<fs::path> folders;
  const fs::path root = package_root(directory, places);
  if (!root.empty()) {
    folders.push_back(root);
  } else if (!is_system(directory) && !places.is_forbidden(directory) &&
             !places.is_collection(directory)) {
    folders.push_back(directory);
  }
  if (!node) return folders;
  const std::vector<fs::path> modules = outer_modules(root.empty() ? directory : root);
  if (modules.empty() || (!root.empty() && has_its_dependencies(root))) return folders;
  folders.insert(folders.end(), modules.begin(), modules.end());
  return folders;
}

}  // namespace thimble::image
