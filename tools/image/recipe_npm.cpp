// The image of an npm package: node, the package installed below /opt, and a bundle of its command.
#include "tools/image/beneath.h"
#include "tools/image/bundle.h"
#include "tools/image/files.h"
#include "tools/image/npm.h"
#include "tools/image/recipes.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// Where no directory of the host that is mounted at its own path could hide it.
constexpr const char* kGuestApp = "/opt/thimble/app";

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> result;
  while (!line.empty()) {
    const std::size_t start = std::min(line.find_first_not_of(" \t\r"), line.size());
    line.remove_prefix(start);
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    if (end > 0) result.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return result;
}

// How a command of a package is started: its hash-bang line says.
Result<std::vector<std::string>> interpreter_of(const Folder& app, const std::string& file,
                                                const std::string& name) {
  const Result<std::string> text = app.read(file);
  if (!text) return fail("command " + name + ": " + text.error().message);
  if (!text->starts_with("#!")) return std::vector<std::string>{"node"};
  std::vector<std::string> parts = words(std::string_view(*text).substr(2, text->find('\n') - 2));
  std::erase(parts, "-S");
  if (!parts.empty() && parts[0].ends_with("/env")) parts.erase(parts.begin());
  const std::string program = parts.empty() ? "" : fs::path(parts[0]).filename().string();
  if (program == "node" || program == "nodejs") {
    parts[0] = "node";
    return parts;
  }
  if (program == "sh" || program == "bash") return std::vector<std::string>{"/bin/sh"};
  return fail("command " + name + ": is written for '" + program +
              "', which is not in a node image: use `thimble image build DIR`");
}

Result<void> add_bundle(Building& building, const fs::path& app, const InstalledPackage& installed,
                        Manifest& manifest) {
  const std::string& name = installed.default_bin;
  if (name.empty()) return {};
  manifest.command = manifest.commands[name];
  const std::string& entry = installed.bins.at(name);
  Bundle bundle;
  if (manifest.command[0] != "node") {
    bundle.refusal = "its command is not JavaScript";
  } else if (installed.runs_scripts) {
    bundle.refusal = "a package of it wants an install script";
  } else {
    Result<Bundle> made = bundle_entry(building, app, entry, kGuestApp);
    if (!made) return std::unexpected(made.error());
    bundle = std::move(*made);
  }
  building.inputs["bundle"] = {{"made", !bundle.file.empty()}, {"reason", bundle.refusal}};
  if (bundle.file.empty()) {
    building.progress("not bundled to one file: " + bundle.refusal);
    return {};
  }
  manifest.command.back() = std::string(kGuestApp) + "/" + bundle.file;
  // Every name of the same file starts the bundle.
  for (auto& [other, argv] : manifest.commands) {
    if (installed.bins.at(other) == entry) argv = manifest.command;
  }
  std::error_code code;
  building.progress("bundled to one file, " + human_size(fs::file_size(app / bundle.file, code)));
  return {};
}

}  // namespace

Result<Manifest> make_npm(Building& building, const NpmSpec& spec, NodeSource source) {
  const fs::path app = building.root / fs::path(kGuestApp).relative_path();
  building.progress("installing " + spec.name + "@" + spec.range +
                    " from the npm registry, without running its scripts");
  const Result<InstalledPackage> installed = npm_install(building, spec, app);
  if (!installed) return std::unexpected(installed.error());
  building.progress("installed " + spec.name + " " + installed->version + ": " +
                    std::to_string(installed->packages) + " packages, " +
                    human_size(tree_size(app)));
  if (installed->runs_scripts) {
    building.progress("note: a package wants to run an install script: it was not run");
  }
  Result<Manifest> manifest = make_node(building, source);
  if (!manifest) return manifest;
  manifest->name = "npm:" + spec.name + "@" + installed->version;
  manifest->command.clear();
  const Result<Folder> folder = Folder::open(app);
  if (!folder) return std::unexpected(folder.error());
  for (const auto& [name, file] : installed->bins) {
    Result<std::vector<std::string>> argv = interpreter_of(*folder, file, name);
    if (!argv) return std::unexpected(argv.error());
    argv->push_back(std::string(kGuestApp) + "/" + file);
    manifest->commands[name] = std::move(*argv);
    if (Result<void> set = folder->set_mode(file, 0755); !set) return std::unexpected(set.error());
  }
  if (Result<void> done = add_bundle(building, app, *installed, *manifest); !done) {
    return std::unexpected(done.error());
  }
  return manifest;
}

}  // namespace thimble::image
