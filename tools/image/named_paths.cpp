// The rules for paths in a command.
#include "tools/image/named_paths.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "tools/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// As many disks as a guest should get by accident.
constexpr std::size_t kMaxMounts = 8;
// Single files that cannot keep their place appear below this directory.
constexpr const char* kElsewhere = "/mnt/thimble";

template <std::size_t N>
bool contains(const std::array<const char*, N>& list, const fs::path& path) {
  return std::ranges::any_of(list, [&](const char* entry) { return path == entry; });
}

// The guest has its own of these; nothing below them comes from the host, except a package below
// /usr (see package_root).
bool is_system(const fs::path& path) {
  constexpr std::array<const char*, 12> kSystem = {"/bin", "/boot",  "/dev",   "/etc",
                                                   "/lib", "/lib32", "/lib64", "/proc",
                                                   "/run", "/sbin",  "/sys",   "/usr"};
  return std::ranges::any_of(kSystem, [&](const char* root) { return is_within(path, root); });
}

// Directories that hold many unrelated things, or that the guest has itself.
bool is_shared_place(const fs::path& path) {
  constexpr std::array<const char*, 22> kShared = {"/",
                                                   "/home",
                                                   "/media",
                                                   "/mnt",
                                                   "/opt",
                                                   "/root",
                                                   "/srv",
                                                   "/tmp",
                                                   "/var",
                                                   "/var/cache",
                                                   "/var/lib",
                                                   "/var/tmp",
                                                   "/usr/bin",
                                                   "/usr/include",
                                                   "/usr/lib",
                                                   "/usr/local",
                                                   "/usr/local/bin",
                                                   "/usr/local/lib",
                                                   "/usr/local/share",
                                                   "/usr/sbin",
                                                   "/usr/share",
                                                   "/usr/src"};
  return contains(kShared, path) || path.parent_path() == "/home";
}

bool is_package_root(const fs::path& directory) {
  constexpr std::array<const char*, 4> kMarks = {"package.json", "pyproject.toml", "setup.py",
                                                 ".git"};
  std::error_code code;
  return std::ranges::any_of(kMarks,
                             [&](const char* mark) { return fs::exists(directory / mark, code); });
}

}  // namespace

bool NamedPaths::is_forbidden(const fs::path& directory) const {
  if (!home_.empty() && is_within(home_, directory)) return true;
  if (is_shared_place(directory)) return true;
  // Of the system's directories only what lies below /usr can be a package.
  return is_system(directory) && (directory == "/usr" || !is_within(directory, "/usr"));
}

// A file in such a directory has neighbours that have nothing to do with it.
bool NamedPaths::is_collection(const fs::path& directory) const {
  constexpr std::array<const char*, 9> kNames = {"Desktop",   "Documents", "Downloads",
                                                 "Music",     "Pictures",  "Public",
                                                 "Templates", "Videos",    "bin"};
  if (home_.empty() || !is_within(directory, home_)) return false;
  const fs::path below = directory.lexically_relative(home_);
  // ~/.ssh, ~/.config/anything.
  if (below.begin()->string().starts_with('.')) return true;
  return directory.parent_path() == home_ && contains(kNames, directory.filename());
}

fs::path NamedPaths::package_root(const fs::path& file) const {
  for (fs::path directory = file.parent_path(); !is_forbidden(directory);
       directory = directory.parent_path()) {
    if (is_package_root(directory)) return directory;
  }
  return {};
}

bool NamedPaths::parse(const std::string& argument, Argument& parsed) const {
  parsed.text = argument;
  if (argument.starts_with('-')) {
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos) return false;
    parsed.option = argument.substr(0, equals + 1);
    parsed.text = argument.substr(equals + 1);
    // A bare word after = is more often a value than a file.
    if (!parsed.text.starts_with('/') && !parsed.text.starts_with('.')) return false;
  }
  if (parsed.text.empty()) return false;
  const fs::path written = (cwd_ / parsed.text).lexically_normal();
  std::error_code code;
  if (!fs::exists(written, code)) return false;
  if (is_system(written) && package_root(written).empty()) return false;
  parsed.path = fs::canonical(written, code);
  return !code;
}

void NamedPaths::take(const std::string& argument) {
  Argument parsed;
  if (!parse(argument, parsed)) return;
  std::error_code code;
  const fs::file_status status = fs::status(parsed.path, code);
  if (fs::is_directory(status)) take_directory(parsed.path);
  if (fs::is_regular_file(status)) take_file(parsed.path);
}

void NamedPaths::take_module(const std::string& module) {
  const std::string first = module.substr(0, module.find('.'));
  std::error_code code;
  if (first.empty() || first.find('/') != std::string::npos) return;
  const bool is_file = fs::is_regular_file(cwd_ / (first + ".py"), code);
  if (!is_file && !fs::is_directory(cwd_ / first, code)) return;
  if (is_forbidden(cwd_)) {
    notes_.push_back("module " + first + " lies in " + cwd_.string() +
                     ", which does not go into the guest as a whole: move it to a directory of "
                     "its own");
    return;
  }
  const fs::path root = package_root(cwd_ / first);
  add({.host = root.empty() ? cwd_ : root, .only = {}, .implied = true});
}

void NamedPaths::take_file(const fs::path& file) {
  const fs::path root = package_root(file);
  if (!root.empty()) return add({.host = root, .only = {}, .implied = true});
  // The target of a link from elsewhere.
  if (is_system(file)) return;
  const fs::path directory = file.parent_path();
  if (is_forbidden(directory) || is_collection(directory)) {
    return add({.host = directory, .only = {file.filename().string()}, .implied = true});
  }
  add({.host = directory, .only = {}, .implied = true});
}

void NamedPaths::take_directory(const fs::path& directory) {
  if (!is_forbidden(directory)) {
    return add({.host = directory, .only = {}, .implied = false});
  }
  if (home_.empty() || directory == "/" || !is_within(home_, directory)) return;
  notes_.push_back(directory.string() + (directory == home_ ? " is" : " holds") +
                   " your home directory and does not go into the guest: name a directory inside "
                   "it");
}

void NamedPaths::add(Mount mount) {
  for (Mount& other : mounts_) {
    if (other.only.empty() && is_within(mount.host, other.host)) {
      // The user's own word for the same directory takes .git along.
      if (mount.host == other.host && !mount.implied) other.implied = false;
      return;
    }
    if (!mount.only.empty() && other.host == mount.host) {
      if (std::ranges::find(other.only, mount.only[0]) == other.only.end()) {
        other.only.push_back(mount.only[0]);
      }
      return;
    }
  }
  if (mount.only.empty()) {
    std::erase_if(mounts_, [&](const Mount& other) { return is_within(other.host, mount.host); });
  }
  mounts_.push_back(std::move(mount));
}

// A lone file keeps its place only where its mount hides nothing of the guest's and no other mount.
fs::path NamedPaths::guest_of(const Mount& mount) const {
  if (mount.only.empty()) return mount.host;
  const bool hides = is_shared_place(mount.host) && mount.host.parent_path() != "/home";
  const bool holds_another = std::ranges::any_of(mounts_, [&](const Mount& other) {
    return &other != &mount && is_within(other.host, mount.host);
  });
  if (!hides && !holds_another && mount.host != "/home/user") return mount.host;
  const auto index = static_cast<std::size_t>(&mount - mounts_.data());
  return fs::path(kElsewhere) / std::to_string(index);
}

const NamedPaths::Mount* NamedPaths::mount_of(const fs::path& path) const {
  for (const Mount& mount : mounts_) {
    const bool single = path.parent_path() == mount.host &&
                        std::ranges::find(mount.only, path.filename().string()) != mount.only.end();
    if (mount.only.empty() ? is_within(path, mount.host) : single) return &mount;
  }
  return nullptr;
}

Result<std::vector<HostPath>> NamedPaths::mounts() const {
  if (mounts_.size() > kMaxMounts) {
    return fail("the command names paths in " + std::to_string(mounts_.size()) +
                " places, at most " + std::to_string(kMaxMounts) +
                " can go into a guest: name a directory that holds them");
  }
  std::vector<HostPath> paths;
  for (const Mount& mount : mounts_) {
    HostPath path;
    path.guest = guest_of(mount);
    path.request.kind = Request::Kind::kHostPath;
    path.request.path = mount.host;
    path.request.only = mount.only;
    path.request.leave_out_git = mount.implied;
    path.request.name = "path:" + mount.host.string() + (mount.implied ? "" : "/");
    for (const std::string& name : mount.only) path.request.name += " " + name;
    paths.push_back(std::move(path));
  }
  return paths;
}

std::string NamedPaths::workdir() const {
  for (const Mount& mount : mounts_) {
    if (mount.only.empty() && is_within(cwd_, mount.host)) return cwd_.string();
    // Mounting makes the directories above it.
    if (is_within(guest_of(mount), cwd_)) return cwd_.string();
  }
  return {};
}

std::string NamedPaths::rewrite(const std::string& argument) const {
  Argument parsed;
  if (!parse(argument, parsed)) return argument;
  const Mount* mount = mount_of(parsed.path);
  if (mount == nullptr) return argument;
  const fs::path guest = guest_of(*mount);
  if (guest != mount->host) return parsed.option + (guest / parsed.path.filename()).string();
  fs::path written = (cwd_ / parsed.text).lexically_normal();
  if (!written.has_filename()) written = written.parent_path();  // a trailing slash
  const bool relative = !parsed.text.starts_with('/');
  if (written == parsed.path && (!relative || !workdir().empty())) return argument;
  return parsed.option + parsed.path.string();
}

}  // namespace thimble::image
