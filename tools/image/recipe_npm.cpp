// The image of an npm package: node, the package installed below /opt, and a bundle of its command.
#include "devices/text.h"
#include "pool/image/files.h"
#include "tools/image/bundle.h"
#include "tools/image/libraries.h"
#include "tools/image/npm.h"
#include "tools/image/npm_commands.h"
#include "tools/image/recipes.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// What a package wanted to do when it was installed, and did not.
void say_scripts(Building& building, const InstalledPackage& installed) {
  for (const auto& [package, script] : installed.scripts) {
    building.inputs["install_scripts"][package] = script;
    building.progress(
        text("note: %s: its install script was not run: %s", package.c_str(), script.c_str()));
  }
}

Result<void> add_bundle(Building& building, const fs::path& app, const InstalledPackage& installed,
                        Manifest& manifest) {
  const std::string& name = installed.default_bin;
  if (!manifest.commands.contains(name)) return {};
  manifest.command = manifest.commands[name];
  const std::string& entry = installed.bins.at(name);
  Bundle bundle;
  if (manifest.command[0] != "node") {
    bundle.refusal = "its command is not started by node alone";
  } else if (installed.runs_scripts) {
    bundle.refusal = "a package of it wants an install script";
  } else {
    Result<Bundle> made = bundle_entry(building, app, entry, kGuestApp);
    if (!made) return std::unexpected(made.error());
    bundle = std::move(*made);
  }
  building.inputs["bundle"] = {{"made", !bundle.file.empty()}, {"reason", bundle.refusal}};
  if (bundle.file.empty()) {
    building.progress("it starts from its own files, not from one bundle: " + bundle.refusal);
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
  Result<InstalledPackage> installed = npm_install(building, spec, app);
  if (!installed) return std::unexpected(installed.error());
  building.progress("installed " + spec.name + " " + installed->version + ": " +
                    std::to_string(installed->packages) + " packages, " +
                    human_size(tree_size(app)));
  say_scripts(building, *installed);
  // The last look into the package before more is fetched.
  const LibraryNeeds needs = collect_needs(app);
  Result<Manifest> manifest = make_node(building, source);
  if (!manifest) return manifest;
  Result<void> done = add_libraries(building, needs);
  if (done) done = add_commands(building, app, *installed, *manifest);
  manifest->name = "npm:" + spec.name + "@" + installed->version;
  manifest->command.clear();
  // As under npx: a command that the package depends on is found by its name.
  std::string& path = manifest->env["PATH"];
  path = std::string(kGuestApp) + "/node_modules/.bin:" + path;
  if (done) done = add_bundle(building, app, *installed, *manifest);
  if (!done) return std::unexpected(done.error());
  return manifest;
}

}  // namespace thimble::image
