// Skeleton, libraries, busybox and certificates of a root file system.
#include "tools/image/rootfs.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "pool/image/files.h"
#include "pool/image/sha256.h"
#include "tools/image/debian.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLoader = "/lib64/ld-linux-x86-64.so.2";
constexpr const char* kCertificates = "/etc/ssl/certs/ca-certificates.crt";

struct TextFile {
  const char* path;
  const char* text;
};

// No /etc/hosts: the guest's init writes it, with the name that the guest has.
constexpr std::array<TextFile, 5> kEtc = {{
    {"etc/passwd",
     "root:x:0:0:root:/root:/bin/sh\n"
     "user:x:1000:1000:user:/home/user:/bin/sh\n"
     "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"},
    {"etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"},
    {"etc/resolv.conf", ""},
    {"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
    {"etc/os-release", "ID=thimble\nNAME=thimble\nPRETTY_NAME=\"thimble guest\"\n"},
}};

Result<void> set_mode(const fs::path& path, mode_t mode) {
  if (::chmod(path.c_str(), mode) != 0) return fail_errno("set the mode of " + path.string());
  return {};
}

// Where a library of the host goes: "/lib/x" and "/usr/lib/x" are the same place.
fs::path place_in_root(const fs::path& root, const fs::path& library) {
  const fs::path normal = library.lexically_normal().relative_path();
  const std::string first = normal.empty() ? std::string() : normal.begin()->string();
  return first.starts_with("lib") ? root / "usr" / normal : root / normal;
}

// Paths of the libraries in the loader's own listing.
Result<std::vector<fs::path>> libraries_of(const fs::path& binary) {
  const Result<std::string> listing =
      run_checked({.argv = {kLoader, "--list", binary.string()}, .env = {{"LC_ALL", "C"}}},
                  "find the libraries of " + binary.string());
  if (!listing) return std::unexpected(listing.error());
  std::vector<fs::path> paths = {kLoader};
  std::size_t at = 0;
  while ((at = listing->find("=> ", at)) != std::string::npos) {
    at += 3;
    const std::string path = listing->substr(at, listing->find_first_of(" \n", at) - at);
    if (path == "not") {
      return fail("find the libraries of " + binary.string() + ": one is missing: " + *listing);
    }
    if (path.starts_with('/')) paths.emplace_back(path);
  }
  std::ranges::sort(paths);
  const auto repeated = std::ranges::unique(paths);
  paths.erase(repeated.begin(), repeated.end());
  return paths;
}

Result<void> add_library(Building& building, const fs::path& library, const fs::path& real,
                         const std::string& owner) {
  const fs::path place = place_in_root(building.root, library);
  if (Result<void> made = make_directories(place.parent_path()); !made) return made;
  if (Result<void> copied = copy_regular(real, place); !copied) return copied;
  const Result<std::string> hash = sha256_file(real);
  if (!hash) return std::unexpected(hash.error());
  building.inputs["libraries"][library.string()] = {{"sha256", *hash}, {"package", owner}};
  return set_mode(place, 0755);
}

Result<void> link_applets(const Building& building, const fs::path& busybox) {
  const Result<std::string> list =
      run_checked({.argv = {busybox.string(), "--list-full"}}, "list busybox's applets");
  if (!list) return std::unexpected(list.error());
  for (std::size_t at = 0; at < list->size();) {
    const std::size_t end = std::min(list->find('\n', at), list->size());
    const fs::path applet(list->substr(at, end - at));
    at = end + 1;
    const bool system = applet.parent_path().filename() == "sbin";
    const fs::path link = building.root / "usr" / (system ? "sbin" : "bin") / applet.filename();
    std::error_code code;
    if (applet.filename() == "busybox" || fs::exists(fs::symlink_status(link, code))) continue;
    if (Result<void> made = make_symlink("/usr/bin/busybox", link); !made) return made;
  }
  return {};
}

}  // namespace

Result<void> make_skeleton(const Building& building) {
  for (const char* directory :
       {"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "etc", "proc", "sys", "dev",
        "run", "tmp", "var/tmp", "var/lib", "root", "home/user", "mnt", "opt", "srv"}) {
    if (Result<void> made = make_directories(building.root / directory); !made) return made;
  }
  for (const char* name : {"bin", "sbin", "lib", "lib64"}) {
    const Result<void> made = make_symlink(fs::path("usr") / name, building.root / name);
    if (!made) return made;
  }
  for (const TextFile& file : kEtc) {
    if (Result<void> made = write_file(building.root / file.path, file.text); !made) return made;
  }
  for (const char* directory : {"tmp", "var/tmp"}) {
    if (Result<void> set = set_mode(building.root / directory, 01777); !set) return set;
  }
  return set_mode(building.root / "root", 0700);
}

Result<void> add_executable(Building& building, const fs::path& binary, const std::string& name) {
  const fs::path place = building.root / "usr/bin" / name;
  if (Result<void> copied = copy_regular(binary, place); !copied) return copied;
  if (Result<void> set = set_mode(place, 0755); !set) return set;
  const Result<std::vector<fs::path>> libraries = libraries_of(binary);
  if (!libraries) return std::unexpected(libraries.error());
  std::vector<fs::path> real;
  for (const fs::path& library : *libraries) {
    std::error_code code;
    real.push_back(fs::canonical(library, code));
    if (code) return fail("copy library " + library.string() + ": " + code.message());
  }
  std::map<std::string, std::string> owners = debian_owners(real);
  for (std::size_t i = 0; i < real.size(); ++i) {
    Result<void> added = add_library(building, (*libraries)[i], real[i], owners[real[i].string()]);
    if (!added) return added;
  }
  return {};
}

Result<void> add_busybox(Building& building) {
  fs::path source = "/bin/busybox";
  if (const std::string owner = debian_owners({source})[source.string()];
      owner.starts_with("busybox-static ")) {
    building.inputs["debian"]["busybox-static"] = owner.substr(owner.find(' ') + 1);
  } else {
    const fs::path unpacked = building.work / "busybox";
    if (Result<void> added = unpack_debian(building, {"busybox-static"}, unpacked); !added) {
      return added;
    }
    source = unpacked / "usr/bin/busybox";
  }
  const fs::path place = building.root / "usr/bin/busybox";
  if (Result<void> copied = copy_regular(source, place); !copied) return copied;
  if (Result<void> set = set_mode(place, 0755); !set) return set;
  return link_applets(building, source);
}

Result<void> add_certificates(Building& building) {
  const Result<std::string> text = read_file(kCertificates);
  if (!text) return {};
  const fs::path place = building.root / fs::path(kCertificates).relative_path();
  if (Result<void> made = make_directories(place.parent_path()); !made) return made;
  building.inputs["certificates"] = {{"sha256", sha256_text(*text)}};
  if (Result<void> written = write_file(place, *text); !written) return written;
  // Where Debian's OpenSSL looks.
  const fs::path openssl = building.root / "usr/lib/ssl";
  Result<void> done = make_directories(openssl);
  if (done) done = make_symlink(kCertificates, openssl / "cert.pem");
  if (done) done = make_symlink("/etc/ssl/certs", openssl / "certs");
  return done;
}

}  // namespace thimble::image
