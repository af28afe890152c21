// See guest_root.h.
#include "tools/image/guest_root.h"

#include "devices/foreign_json.h"
#include "devices/text.h"
#include "pool/image/files.h"
#include "tools/image/beneath.h"
#include "tools/image/npm.h"
#include "tools/image/npm_commands.h"
#include "tools/image/process.h"
#include "tools/image/worker.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::uint64_t kLongestOutcome = 1 << 20;

// Of what a package from the registry can consist: npm unpacks nothing else.
Result<void> check_kinds(const fs::path& root) {
  std::error_code code;
  fs::recursive_directory_iterator entries(root, code);
  for (const fs::recursive_directory_iterator end; !code && entries != end;
       entries.increment(code)) {
    const fs::file_type type = entries->symlink_status(code).type();
    if (code || type == fs::file_type::regular || type == fs::file_type::directory ||
        type == fs::file_type::symlink) {
      continue;
    }
    return fail("take what the install scripts made: " + entries->path().filename().string() +
                " is neither a file nor a folder nor a link");
  }
  if (code) return fail("take what the install scripts made: " + code.message());
  return {};
}

// tar itself refuses names that lead out of the folder; were it to be deceived, there is nothing
// else in the jail.
Result<void> unpack(const Building& building) {
  const fs::path archive = building.work / kGuestRoot;
  const std::string root = building.root.string();
  Result<std::string> done = run_checked(
      {.argv = {"tar", "-x", "--no-same-owner", "-p", "-f", archive.string(), "-C", root}},
      "take what the install scripts made");
  // What nobody may read could not be packed.
  if (done) done = run_checked({.argv = {"chmod", "-R", "u+rwX", root}}, "take the guest's files");
  if (!done) return std::unexpected(done.error());
  remove_tree(archive);
  return check_kinds(building.root);
}

}  // namespace

Result<void> record_outcome(const std::string& outcome_text, json& inputs,
                            const Progress& progress) {
  const json outcome = read_foreign_json(outcome_text);
  const json scripts = inputs.value("install_scripts", json::object());
  json failed = json::object();
  bool any = false;
  for (const auto& [place, script] : scripts.items()) {
    const auto status = outcome.is_object() ? outcome.find(place) : outcome.end();
    const bool well = outcome.is_object() && status != outcome.end() && *status == 0;
    if (well) {
      inputs["scripts_run"][place] = script;
      any = true;
      continue;
    }
    failed[place] = script;
    progress("note: " + place + ": its install script failed in the microVM");
  }
  inputs["install_scripts"] = failed;
  if (failed.empty()) inputs.erase("install_scripts");
  if (any) return {};
  return fail(
      "run the install scripts: none ended well in a microVM, which has no network: the image "
      "stays without them");
}

Result<Manifest> make_of_guest(Building& building, const std::string& package,
                               const GuestRoot& guest) {
  building.progress("taking what the install scripts made");
  Result<Manifest> manifest = manifest_from_json(guest.manifest, "manifest.json");
  if (!manifest) return manifest;
  building.inputs = read_foreign_json(guest.inputs);
  Result<void> done = make_skeleton(building);
  if (done) done = unpack(building);
  if (!done) return std::unexpected(done.error());

  const Result<Folder> root = Folder::open(building.root);
  const Result<std::string> outcome =
      root ? root->read(kScriptOutcome, kLongestOutcome) : std::unexpected(root.error());
  if (!outcome) return std::unexpected(outcome.error());
  remove_tree(building.root / kScriptOutcome);
  done = record_outcome(*outcome, building.inputs, building.progress);
  if (!done) return std::unexpected(done.error());

  const std::string app = fs::path(kGuestApp).relative_path();
  const Result<Folder> folder = Folder::open(building.root / app);
  if (!folder) return std::unexpected(folder.error());
  InstalledPackage installed;
  done = find_bins(*folder, package, installed);
  // Scripts may have made the file that a command was missing.
  building.inputs.erase("unusable_commands");
  building.inputs.erase("default_command");
  manifest->commands.clear();
  manifest->command.clear();
  if (done) done = add_commands(building, building.root / app, installed, *manifest);
  if (!done) return std::unexpected(done.error());
  if (manifest->commands.contains(installed.default_bin)) {
    manifest->command = manifest->commands[installed.default_bin];
  }
  return manifest;
}

}  // namespace thimble::image
