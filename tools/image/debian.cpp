// apt-get download, dpkg-deb and dpkg-query.
#include "tools/image/debian.h"

#include <algorithm>

#include "pool/image/files.h"
#include "tools/image/fetch.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// A link in the root may point anywhere: what is copied takes its place, and does not go through
// it.
void remove_links(const fs::path& unpacked, const fs::path& to) {
  std::error_code code;
  for (fs::recursive_directory_iterator it(unpacked, code), end; !code && it != end;
       it.increment(code)) {
    std::error_code ignored;
    if (it->symlink_status(ignored).type() == fs::file_type::directory) continue;
    const fs::path place = to / it->path().lexically_relative(unpacked);
    if (fs::is_symlink(fs::symlink_status(place, ignored))) fs::remove(place, ignored);
  }
}

// dpkg-deb -x would replace a link such as /lib by a directory, so packages are unpacked beside the
// root and merged into it.
Result<void> merge(const fs::path& unpacked, const fs::path& to) {
  for (const fs::path& entry : list_directory(unpacked)) {
    const std::string name = entry.filename().string();
    const bool merged = name == "bin" || name == "sbin" || name == "lib" || name == "lib64";
    const fs::path place = merged ? to / "usr" / name : to / name;
    remove_links(entry, place);
    if (Result<void> copied = copy_tree(entry, place); !copied) return copied;
  }
  return {};
}

std::string field(const fs::path& package, const char* name) {
  const Result<std::string> value =
      run_checked({.argv = {"dpkg-deb", "-f", package.string(), name}}, "read a package");
  return value ? value->substr(0, value->find('\n')) : std::string();
}

// A file of a merged directory may be known to dpkg by its name without /usr.
std::string unmerged(const std::string& path) {
  for (const char* merged : {"/usr/lib", "/usr/bin", "/usr/sbin"}) {
    if (path.starts_with(merged)) return path.substr(4);
  }
  return path;
}

// Path (unmerged) -> package, from lines "package[:arch][, other]: path".
std::map<std::string, std::string> parse_owners(std::string_view text) {
  std::map<std::string, std::string> owners;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t path = line.find(": ");
    if (path == std::string_view::npos || line.starts_with("diversion ")) continue;
    owners[unmerged(std::string(line.substr(path + 2)))] = line.substr(0, line.find_first_of(":,"));
  }
  return owners;
}

// "package" -> "package version".
void add_versions(std::map<std::string, std::string>& owners) {
  Command query{.argv = {"dpkg-query", "-W", "-f=${Package} ${Architecture} ${Version}\\n"},
                .env = {{"LC_ALL", "C"}}};
  for (const auto& [path, package] : owners) query.argv.push_back(package);
  const Result<Output> found = run_process(query);
  if (!found) return;
  for (auto& [path, package] : owners) {
    for (const char* architecture : {" amd64 ", " all "}) {
      const std::string start = package + architecture;
      const std::size_t at = ("\n" + found->out).find("\n" + start);
      if (at == std::string::npos) continue;
      const std::size_t version = at + start.size();
      package += " " + found->out.substr(version, found->out.find('\n', version) - version);
      break;
    }
  }
}

}  // namespace

std::string explain_apt(const std::string& said) {
  const std::string what = "download Debian packages: ";
  for (const char* sign : {"Temporary failure resolving", "Could not resolve", "Could not connect",
                           "Connection failed", "Network is unreachable", "Connection timed out"}) {
    if (said.contains(sign)) return what + "Debian's mirror cannot be reached: is there a network?";
  }
  const std::string last = last_lines(said, 1);
  return what + (last.empty() ? "apt-get failed" : last) +
         ": run `sudo apt-get update` on Debian 12 and try again";
}

Result<void> fetch_debian(const std::vector<std::string>& packages, const fs::path& folder) {
  const fs::path downloads = folder / kFetchedDebian;
  remove_tree(downloads);
  if (Result<void> made = make_directories(downloads); !made) return made;
  Command download{.argv = {"apt-get", "download", "-q"}, .cwd = downloads};
  download.argv.insert(download.argv.end(), packages.begin(), packages.end());
  const Result<Output> done = run_process(download);
  if (!done) return fail_in("download Debian packages", done);
  return done->status == 0 ? Result<void>() : fail(explain_apt(done->err));
}

Result<void> unpack_debian(Building& building, const std::vector<std::string>& packages,
                           const fs::path& to) {
  const fs::path downloads = building.work / kFetchedDebian;
  const fs::path unpacked = building.work / "unpacked";
  Result<void> fetched = building.fetch({.kind = Fetch::Kind::kDebian, .names = packages});
  if (!fetched) return fetched;
  for (const fs::path& directory : {unpacked, to / "usr"}) {
    if (Result<void> made = make_directories(directory); !made) return made;
  }
  for (const fs::path& package : list_directory(downloads)) {
    const Result<std::string> done =
        run_checked({.argv = {"dpkg-deb", "-x", package.string(), unpacked.string()}},
                    "unpack " + package.filename().string());
    if (!done) return std::unexpected(done.error());
    building.inputs["debian"][field(package, "Package")] = field(package, "Version");
  }
  // Of the time zones' three sets of rules, one.
  for (const char* unwanted :
       {"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/bug",
        "usr/share/zoneinfo/posix", "usr/share/zoneinfo/right"}) {
    remove_tree(unpacked / unwanted);
  }
  Result<void> merged = merge(unpacked, to);
  remove_tree(unpacked);
  remove_tree(downloads);
  return merged;
}

std::vector<std::string> debian_knows(const std::vector<std::string>& packages) {
  if (packages.empty()) return {};
  Command show{.argv = {"apt-cache", "show", "--no-all-versions"}, .env = {{"LC_ALL", "C"}}};
  show.argv.insert(show.argv.end(), packages.begin(), packages.end());
  // It fails when one of them is unknown.
  const Result<Output> shown = run_process(show);
  if (!shown) return {};
  const std::string lines = "\n" + shown->out;
  std::vector<std::string> known;
  for (const std::string& package : packages) {
    if (lines.contains("\nPackage: " + package + "\n")) known.push_back(package);
  }
  return known;
}

std::map<std::string, std::string> debian_owners(const std::vector<fs::path>& paths) {
  Command search{.argv = {"dpkg-query", "-S"}, .env = {{"LC_ALL", "C"}}};
  for (const fs::path& path : paths) {
    search.argv.push_back(path.string());
    search.argv.push_back(unmerged(path.string()));
    search.argv.push_back("/usr" + unmerged(path.string()));
  }
  // It fails when one of the names is unknown, as some are meant to be.
  const Result<Output> found = run_process(search);
  if (!found) return {};
  const std::map<std::string, std::string> packages = parse_owners(found->out);
  std::map<std::string, std::string> owners;
  for (const fs::path& path : paths) {
    const auto package = packages.find(unmerged(path.string()));
    if (package != packages.end()) owners[path.string()] = package->second;
  }
  add_versions(owners);
  return owners;
}

}  // namespace thimble::image
