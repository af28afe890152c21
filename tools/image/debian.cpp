// apt-get download, dpkg-deb and dpkg-query.
#include "tools/image/debian.h"

#include "tools/image/files.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// dpkg-deb -x would replace a link such as /lib by a directory, so packages are unpacked beside the
// root and merged into it.
Result<void> merge(const fs::path& unpacked, const fs::path& to) {
  for (const fs::path& entry : list_directory(unpacked)) {
    const std::string name = entry.filename().string();
    const bool merged = name == "bin" || name == "sbin" || name == "lib" || name == "lib64";
    if (Result<void> copied = copy_tree(entry, merged ? to / "usr" / name : to / name); !copied) {
      return copied;
    }
  }
  return {};
}

std::string field(const fs::path& package, const char* name) {
  const Result<std::string> value = run_checked(
      {.argv = {"dpkg-deb", "-f", package.string(), name}, .cwd = {}, .env = {}}, "read a package");
  return value ? value->substr(0, value->find('\n')) : std::string();
}

std::string dpkg_owner(const fs::path& path) {
  const Result<Output> found = run_process(
      {.argv = {"dpkg-query", "-S", path.string()}, .cwd = {}, .env = {{"LC_ALL", "C"}}});
  if (!found || found->status != 0) return {};
  return found->out.substr(0, found->out.find(": "));
}

}  // namespace

Result<void> unpack_debian(Building& building, const std::vector<std::string>& packages,
                           const fs::path& to) {
  const fs::path downloads = building.work / "debs";
  const fs::path unpacked = building.work / "unpacked";
  remove_tree(downloads);
  for (const fs::path& directory : {downloads, unpacked, to / "usr"}) {
    if (Result<void> made = make_directories(directory); !made) return made;
  }
  Command download{.argv = {"apt-get", "download", "-q"}, .cwd = downloads, .env = {}};
  download.argv.insert(download.argv.end(), packages.begin(), packages.end());
  if (const Result<std::string> done = run_checked(download, "download Debian packages"); !done) {
    return fail(done.error().message + ": run `sudo apt-get update` on Debian 12 and try again");
  }
  for (const fs::path& package : list_directory(downloads)) {
    const Result<std::string> done = run_checked(
        {.argv = {"dpkg-deb", "-x", package.string(), unpacked.string()}, .cwd = {}, .env = {}},
        "unpack " + package.filename().string());
    if (!done) return std::unexpected(done.error());
    building.inputs["debian"][field(package, "Package")] = field(package, "Version");
  }
  for (const char* unwanted : {"usr/share/doc", "usr/share/man", "usr/share/locale",
                               "usr/share/lintian", "usr/share/bug"}) {
    remove_tree(unpacked / unwanted);
  }
  Result<void> merged = merge(unpacked, to);
  remove_tree(unpacked);
  remove_tree(downloads);
  return merged;
}

std::string debian_owner(const fs::path& path, const fs::path& other_name) {
  // dpkg knows a file of a merged directory by either of its names.
  std::string package = dpkg_owner(path);
  if (package.empty() && !other_name.empty()) package = dpkg_owner(other_name);
  if (package.empty() && path.string().starts_with("/usr/lib")) {
    package = dpkg_owner(path.string().substr(4));
  }
  package = package.substr(0, package.find(':'));
  if (package.empty()) return {};
  const Result<Output> version = run_process(
      {.argv = {"dpkg-query", "-W", "-f=${Version}", package + ":amd64"}, .cwd = {}, .env = {}});
  if (!version || version->status != 0) return package;
  return package + " " + version->out;
}

}  // namespace thimble::image
