// Calling npm, and reading the lock file and package.json that it leaves. Both were written by
// strangers: every field is checked.
#include "tools/image/npm.h"

#include <unistd.h>

#include <algorithm>

#include "devices/foreign_json.h"
#include "devices/text.h"
#include "pool/image/files.h"
#include "pool/image/manifest.h"
#include "pool/image/sha256.h"
#include "tools/image/beneath.h"
#include "tools/image/fetch.h"
#include "tools/image/npm_settings.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr const char* kNoHash =
    "the registry has no hash to lock it by: install it yourself and use `thimble image build DIR`";

std::string string_of(const json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto member = object.find(name);
  return member != object.end() && member->is_string() ? member->get<std::string>() : std::string();
}

Command npm_command(std::string verb, const fs::path& directory, const fs::path& cache) {
  return {
      .argv =
          {"npm", std::move(verb), "--ignore-scripts", "--no-audit", "--no-fund",
           "--no-update-notifier", "--no-progress", "--logs-max=0",
           // Packages look for commands of what they depend on in node_modules/.bin, as npx has it.
           "--bin-links=true",
           // Without a network it is to say so in seconds: by itself npm waits for 10 and then 60.
           "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000", "--omit=dev",
           "--global=false", "--omit-lockfile-registry-resolved",
           // Where npm knows them, what the lock would be refused for is not even fetched.
           "--allow-git=none", "--allow-remote=none", "--allow-file=none", "--allow-directory=none",
           "--loglevel=error", "--prefix", directory.string(), "--cache", cache.string(),
           "--userconfig", kNpmSettings, "--globalconfig", "/settings/none"},
      .cwd = directory,
      .env = {{"LC_ALL", "C"}, {"NO_COLOR", "1"}}};
}

bool is_about_logs(std::string_view line) {
  return line.starts_with("A complete log") || line.starts_with("Log files were not written") ||
         line.starts_with("You can rerun the command with");
}

// npm's own words without its prefix and without the hints at its log file.
std::string npm_reason(std::string_view text) {
  std::string reason;
  int lines = 0;
  while (!text.empty() && lines < 4) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    constexpr std::string_view kPrefix = "npm error";
    if (!line.starts_with(kPrefix)) continue;
    line.remove_prefix(kPrefix.size());
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (line.empty() || is_about_logs(line) || line.starts_with("code ")) continue;
    reason += (reason.empty() ? "" : "; ") + std::string(line);
    ++lines;
  }
  return reason;
}

Result<void> run_npm(const Command& command, const std::string& what) {
  const Result<Output> output = run_process(command);
  if (!output) {
    return fail(what + ": " + output.error().message + ": install nodejs with npm, or set PATH");
  }
  if (output->status == 0) return {};
  std::string reason = npm_reason(output->err);
  if (reason.empty()) reason = last_lines(output->err, 4);
  if (output->err.find("code E404") != std::string::npos) {
    reason = "the npm registry has no such package";
  } else if (output->err.find("code ETARGET") != std::string::npos) {
    reason = "the package has no such version";
  } else if (output->err.find("code EALLOW") != std::string::npos) {
    reason = "a package of it comes from an address of its own (URL, git or file), so " +
             std::string(kNoHash);
  } else if (output->err.find("ENOSPC") != std::string::npos) {
    reason = "No space left on device";
  }
  return fail(what + ": " + reason);
}

// Why a package of the lock file cannot be locked by the hash of what the registry has; or nothing.
// npm leaves the address out of the lock for what comes from the registry
// (--omit-lockfile-registry-resolved), so an address that stands there is another one. What lies in
// the archive of the package above it (inBundle) is locked by that one's hash.
std::string refuse_source(const std::string& place, const json& entry) {
  if (!place.starts_with("node_modules/") || !is_inner_name(place)) return "is a folder";
  if (entry.contains("link")) return "is a folder";
  if (entry.contains("inBundle")) return {};
  if (entry.contains("resolved")) return "comes from an address of its own (URL, git or file)";
  if (string_of(entry, "integrity").empty()) return "does not come from the npm registry";
  return {};
}

// A command's file as npm takes it: below the package whatever is written. Empty: none.
std::string inner_path(const std::string& text) {
  if (text.find('\0') != std::string::npos) return {};
  const fs::path path = (fs::path("/") / text).lexically_normal().relative_path();
  return path.has_filename() ? path.string() : std::string();
}

// What a command is called: npm takes the last part of the name.
std::string command_name(const std::string& text) {
  return text.find('\0') == std::string::npos ? fs::path(text).filename().string() : std::string();
}

constexpr std::size_t kShownScript = 160;
constexpr std::size_t kMaxBins = 1000;

// Of the packages that said in the lock file that they have scripts.
void read_scripts(const Folder& folder, InstalledPackage& installed) {
  for (auto& [place, script] : installed.scripts) {
    const Result<std::string> text = folder.read(place + "/package.json", 1 << 20);
    if (text) script = install_scripts(*text);
    // npm's own script for a package that has sources of an addon and says nothing.
    if (script.empty()) script = "install: node-gyp rebuild";
  }
}

}  // namespace

const PinnedPackage* find_pinned(std::string_view name) {
  for (const PinnedPackage* package : {&kNode, &kEsbuild}) {
    if (name == package->name) return package;
  }
  return nullptr;
}

fs::path pinned_place(const fs::path& cache, const PinnedPackage& package) {
  std::string name(package.name);
  for (char& c : name) c = c == '/' || c == '@' ? '_' : c;
  // The hash makes a changed pin a new directory.
  return cache / "npm/pinned" /
         (name + "-" + package.version + "-" + sha256_text(package.integrity).substr(0, 12)) /
         fs::path(package.file).filename();
}

Result<void> fetch_pinned(const PinnedPackage& package, const fs::path& folder) {
  const json wanted = {{"private", true}, {"dependencies", {{package.name, package.version}}}};
  const std::string place = std::string("node_modules/") + package.name;
  const json lock = {{"lockfileVersion", 3},
                     {"requires", true},
                     {"packages",
                      {{"", {{"dependencies", {{package.name, package.version}}}}},
                       {place, {{"version", package.version}, {"integrity", package.integrity}}}}}};
  Result<void> done = write_file(folder / "package.json", to_text(wanted));
  if (done) done = write_file(folder / "package-lock.json", to_text(lock));
  // `npm ci` refuses content whose hash is not the lock's.
  if (done) {
    done = run_npm(npm_command("ci", folder, folder / "npm-cache"),
                   std::string("fetch ") + package.name + "@" + package.version);
  }
  if (!done) return done;
  const fs::path file = folder / place / package.file;
  if (package.strip) {
    const Result<std::string> stripped =
        run_checked({.argv = {"strip", file.string()}}, "strip " + file.filename().string());
    if (!stripped) return fail(stripped.error().message + ": install binutils");
  }
  return rename_path(file, folder / file.filename());
}

Result<fs::path> pinned_file(Building& building, const PinnedPackage& package) {
  building.inputs["tools"][package.name] = {{"version", package.version},
                                            {"integrity", package.integrity}};
  fs::path kept = pinned_place(building.cache, package);
  std::error_code code;
  if (fs::exists(kept, code)) return kept;
  building.progress(std::string("fetching ") + package.name + " " + package.version);
  const Result<void> fetched =
      building.fetch({.kind = Fetch::Kind::kPinned, .names = {package.name}});
  if (!fetched) return std::unexpected(fetched.error());
  return kept;
}

Result<void> record_lock(const std::string& lock_text, json& inputs, InstalledPackage& installed) {
  const json lock = read_foreign_json(lock_text);
  const auto packages = lock.is_object() ? lock.find("packages") : lock.end();
  if (!lock.is_object() || packages == lock.end() || !packages->is_object()) {
    return fail("read npm's lock file: damaged: update npm and try again");
  }
  json locked = json::object();
  for (const auto& [place, entry] : packages->items()) {
    if (place.empty()) continue;
    if (!entry.is_object()) return fail("read npm's lock file: " + place + ": not an object");
    if (const std::string refusal = refuse_source(place, entry); !refusal.empty()) {
      return fail(text("package %s: %s, so %s", place.c_str(), refusal.c_str(), kNoHash));
    }
    locked[place] = {{"version", string_of(entry, "version")},
                     {"integrity", string_of(entry, "integrity")}};
    if (entry.contains("hasInstallScript")) {
      installed.runs_scripts = true;
      installed.scripts[place];
    }
    ++installed.packages;
  }
  inputs["npm"] = std::move(locked);
  return {};
}

Result<void> read_bins(const std::string& package_json, const std::string& package,
                       InstalledPackage& installed) {
  const json value = read_foreign_json(package_json);
  if (!value.is_object()) return fail("package " + package + ": its package.json is damaged");
  installed.version = string_of(value, "version");
  const std::string short_name = package.substr(package.find('/') + 1);
  std::map<std::string, std::string> bins;
  if (const auto bin = value.find("bin"); bin != value.end()) {
    if (bin->is_string()) bins[short_name] = bin->get<std::string>();
    if (bin->is_object()) {
      for (const auto& [name, path] : bin->items()) {
        if (path.is_string()) bins[name] = path.get<std::string>();
      }
    }
  }
  for (const auto& [name, path] : bins) {
    const std::string command = command_name(name);
    const std::string inner = inner_path(path);
    if (command.empty() || inner.empty()) continue;
    installed.bins[command] = (fs::path("node_modules") / package / inner).string();
  }
  if (installed.bins.empty()) {
    return fail("package " + package + ": has no command to run (no \"bin\" in package.json)");
  }
  // npx's rule: the only one, or the one that is called like the package; several names of one
  // file are one.
  bool same_file = true;
  for (const auto& [name, path] : installed.bins) {
    same_file = same_file && path == installed.bins.begin()->second;
  }
  if (installed.bins.contains(short_name)) {
    installed.default_bin = short_name;
  } else if (same_file) {
    installed.default_bin = installed.bins.begin()->first;
  }
  return {};
}

Result<void> find_bins(const Folder& folder, const std::string& package,
                       InstalledPackage& installed) {
  const std::string place = "node_modules/" + package;
  const Result<std::string> text = folder.read(place + "/package.json");
  if (!text) return std::unexpected(text.error());
  json value = read_foreign_json(*text);
  if (!value.is_object() || value.contains("bin")) return read_bins(*text, package, installed);
  // npm's other way to name commands: every file of a folder is one.
  const auto directories = value.find("directories");
  const std::string inner =
      directories == value.end() ? std::string() : inner_path(string_of(*directories, "bin"));
  if (inner.empty()) return read_bins(*text, package, installed);
  const auto files = folder.files_in(place + "/" + inner, kMaxBins);
  if (!files) return std::unexpected(files.error());
  for (const std::string& file : *files) value["bin"][file] = (fs::path(inner) / file).string();
  return read_bins(to_text(value), package, installed);
}

std::string install_scripts(const std::string& package_json) {
  const json value = read_foreign_json(package_json);
  const auto scripts = value.is_object() ? value.find("scripts") : value.end();
  if (!value.is_object() || scripts == value.end()) return {};
  std::string line;
  for (const char* name : {"preinstall", "install", "postinstall"}) {
    const std::string script = string_of(*scripts, name);
    if (!script.empty()) line += (line.empty() ? "" : "; ") + (name + (": " + script));
  }
  std::erase_if(line, [](unsigned char c) { return c < ' ' || c == 0x7f; });
  return line.substr(0, kShownScript);
}

Result<void> fetch_package(const NpmSpec& spec, const fs::path& folder) {
  const fs::path directory = folder / kFetchedPackage;
  Result<void> done = make_directories(directory);
  if (done) {
    done = write_file(directory / "package.json",
                      to_text({{"private", true}, {"dependencies", {{spec.name, spec.range}}}}));
  }
  const fs::path cache = folder / "npm-cache";
  if (done) {
    done = run_npm(npm_command("install", directory, cache),
                   "npm package " + spec.name + "@" + spec.range);
  }
  remove_tree(cache);
  return done;
}

Result<InstalledPackage> npm_install(Building& building, const NpmSpec& spec,
                                     const fs::path& directory) {
  Result<void> done = building.fetch({.kind = Fetch::Kind::kPackage});
  if (done) done = make_directories(directory.parent_path());
  if (done) done = rename_path(building.work / kFetchedPackage, directory);
  if (!done) return std::unexpected(done.error());

  InstalledPackage installed;
  const Result<Folder> folder = Folder::open(directory);
  if (!folder) return std::unexpected(folder.error());
  const Result<std::string> lock = folder->read("package-lock.json");
  if (!lock) return std::unexpected(lock.error());
  done = record_lock(*lock, building.inputs, installed);
  if (!done) return std::unexpected(done.error());
  done = find_bins(*folder, spec.name, installed);
  if (!done) return std::unexpected(done.error());
  read_scripts(*folder, installed);

  // What npm notes for itself would make the bytes depend on the request's wording.
  remove_tree(directory / "package-lock.json");
  remove_tree(directory / "node_modules/.package-lock.json");
  done =
      write_file(directory / "package.json",
                 to_text({{"private", true}, {"dependencies", {{spec.name, installed.version}}}}));
  if (!done) return std::unexpected(done.error());
  return installed;
}

}  // namespace thimble::image
