// The rules for paths in a command.
#include "pool/image/named_paths.h"

#include <algorithm>

#include "devices/text.h"
#include "pool/image/command/package_root.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// As many disks as a guest should get by accident.
constexpr std::size_t kMaxMounts = 8;
// Single files that cannot keep their place appear below this directory.
constexpr const char* kElsewhere = "/mnt/thimble";

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::ranges::find(list, text) != list.end();
}

// A script that names no extension, as node finds it.
std::optional<Argument> find_program(const std::string& text, const fs::path& cwd, bool node) {
  if (std::optional<Argument> found = find_path(text, cwd)) return found;
  for (const char* extension : {".js", ".cjs", ".mjs"}) {
    if (!node) break;
    if (std::optional<Argument> found = find_path(text + extension, cwd)) return found;
  }
  return std::nullopt;
}

// Programs of the same kind beside a file that goes in alone: it may want them.
bool has_siblings(const fs::path& file) {
  return std::ranges::any_of(list_directory(file.parent_path()), [&](const fs::path& other) {
    return other != file && other.has_extension() && other.extension() == file.extension();
  });
}

}  // namespace

Result<void> NamedPaths::take(std::size_t word, const std::string& text) {
  std::optional<Argument> argument = find_path(text, places_.cwd);
  if (!argument) {
    note_missing(text);
    return {};
  }
  const fs::path& written = argument->written;
  if (is_system(written) && package_root(written.parent_path(), places_).empty()) return {};
  Result<fs::path> real = follow_links(written, LinkRule::kData, places_);
  if (!real) return std::unexpected(real.error());
  const Named named{std::move(*argument), std::move(*real)};
  std::error_code code;
  const fs::file_status status = fs::status(named.real, code);
  if (fs::is_directory(status)) {
    take_directory(named);
  } else if (fs::is_regular_file(status)) {
    take_file(named);
  } else {
    note(named.real.string() + " is neither a file nor a directory: it does not go in");
  }
  named_.insert_or_assign(word, named);
  return {};
}

Result<void> NamedPaths::take_program(std::size_t word, const std::string& text, bool node) {
  std::optional<Argument> argument = find_program(text, places_.cwd, node);
  if (!argument) return {};
  Result<fs::path> real = follow_links(argument->written, LinkRule::kProgram, places_);
  if (!real) return std::unexpected(real.error());
  const Named named{std::move(*argument), std::move(*real)};
  std::error_code code;
  const bool directory = fs::is_directory(named.real, code);
  for (const fs::path& folder :
       program_folders(directory ? named.real : named.real.parent_path(), places_, node)) {
    take_folder(folder);
  }
  named_.insert_or_assign(word, named);
  if (!place_of(named).empty()) return {};
  directory ? take_directory(named) : take_lone_program(named);
  return {};
}

void NamedPaths::take_lone_program(const Named& named) {
  if (has_siblings(named.real)) {
    note(named.real.string() +
         " goes in alone, without the files beside it: give it a folder of "
         "its own if it needs them");
  }
  take_file(named);
}

void NamedPaths::take_folder(const fs::path& directory) {
  add({.host = directory, .guest = directory, .only = {}, .links = {}, .implied = true});
}

void NamedPaths::take_link(const fs::path& directory, const std::string& name,
                           const std::string& target) {
  add({.host = directory,
       .guest = directory,
       .only = {},
       .links = {{name, target}},
       .implied = true});
}

void NamedPaths::take_file(const Named& named) {
  // Its folder keeps the name that the user wrote, the file in it only has its own.
  const fs::path& written = named.argument.written;
  const bool same_name = written.filename() == named.real.filename() && !is_system(written);
  add({.host = named.real.parent_path(),
       .guest = same_name ? written.parent_path() : named.real.parent_path(),
       .only = {named.real.filename().string()},
       .links = {},
       .implied = true});
}

void NamedPaths::take_directory(const Named& named) {
  const fs::path& directory = named.real;
  const fs::path& written = named.argument.written;
  if (!places_.is_forbidden(directory)) {
    add({.host = directory,
         .guest = is_system(written) ? directory : written,
         .only = {},
         .links = {},
         .implied = false});
    return;
  }
  if (directory == "/" || is_system(directory)) return;
  const fs::path& home = places_.home;
  if (!home.empty() && is_within(home, directory)) {
    note(directory.string() + (directory == home ? " is" : " holds") +
         " your home directory and does not go into the guest: name a directory inside it");
  } else {
    note(directory.string() +
         " does not go into the guest as a whole, which has its own: name a directory inside it");
  }
}

void NamedPaths::note_missing(const std::string& text) {
  const fs::path missing = missing_path(text, places_.cwd);
  if (missing.empty() || is_system(missing)) return;
  note(missing.string() + " does not exist here: what the command makes there stays in the guest");
}

void NamedPaths::add(Mount mount) {
  const auto covers = [](const Mount& outer, const Mount& inner) {
    return outer.is_whole() && outer.guest == outer.host && is_within(inner.host, outer.host) &&
           is_within(inner.guest, outer.host) && inner.links.empty();
  };
  for (Mount& other : mounts_) {
    if (covers(other, mount)) {
      // The user's own word for the same directory takes .git along.
      if (mount.host == other.host && !mount.implied) other.implied = false;
      return;
    }
    const bool same = other.host == mount.host && other.guest == mount.guest;
    if (same && other.is_whole() && mount.is_whole()) return;
    if (same && !other.is_whole() && !mount.is_whole()) {
      for (const std::string& name : mount.only) {
        if (!contains(other.only, name)) other.only.push_back(name);
      }
      other.links.merge(mount.links);
      return;
    }
  }
  std::erase_if(mounts_, [&](const Mount& other) { return covers(mount, other); });
  mounts_.push_back(std::move(mount));
}

// A lone file keeps its place only where its mount hides nothing of the guest's. In the copy of
// another directory the written name is a link already.
fs::path NamedPaths::guest_of(const Mount& mount) const {
  const bool is_link =
      mount.guest != mount.host && std::ranges::any_of(mounts_, [&](const Mount& other) {
        return &other != &mount && other.is_whole() && other.guest == other.host &&
               is_within(mount.guest, other.host);
      });
  if (is_link) return mount.host;
  if (mount.only.empty()) return mount.guest;
  const bool hides = (is_shared_place(mount.guest) && mount.guest.parent_path() != "/home") ||
                     mount.guest == "/home/user" || is_system(mount.guest);
  if (!hides) return mount.guest;
  const auto index = static_cast<std::size_t>(&mount - mounts_.data());
  return fs::path(kElsewhere) / std::to_string(index);
}

fs::path NamedPaths::place_of(const Named& named) const {
  const fs::path& written = named.argument.written;
  fs::path place;
  for (const Mount& mount : mounts_) {
    const bool single = named.real.parent_path() == mount.host &&
                        contains(mount.only, named.real.filename().string());
    if (mount.is_whole() ? !is_within(named.real, mount.host) : !single) continue;
    const fs::path guest = guest_of(mount);
    place = guest / named.real.lexically_relative(mount.host);
    if (named.real == mount.host) place = guest;
    // By the name that was written: links are in the copy, or the copy has it.
    const bool keeps_links = guest == mount.host && is_within(written, guest);
    if (keeps_links && mount.is_whole()) return written;
    if (place == written) return written;
  }
  return place;
}

// Directories that other mounts need in this one, which has but single files.
std::vector<std::string> NamedPaths::places_inside(const Mount& mount) const {
  std::vector<std::string> folders;
  const fs::path outer = guest_of(mount);
  for (const Mount& other : mounts_) {
    const fs::path inner = guest_of(other);
    if (&other == &mount || inner == outer || !is_within(inner, outer)) continue;
    folders.push_back(inner.lexically_relative(outer).string());
  }
  std::ranges::sort(folders);
  return folders;
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
    Request& request = path.request;
    request.kind = Request::Kind::kHostPath;
    request.path = mount.host;
    request.only = mount.only;
    request.links = mount.links;
    if (!mount.is_whole()) request.folders = places_inside(mount);
    request.leave_out_git = mount.implied;
    request.uid = owner_.uid;
    request.gid = owner_.gid;
    request.name = "path:" + mount.host.string() + (mount.implied ? "" : "/");
    for (const std::string& name : mount.only) request.name += " " + name;
    for (const auto& [name, target] : mount.links) {
      request.name += text(" %s>%s", name.c_str(), target.c_str());
    }
    for (const std::string& folder : request.folders) request.name += " " + folder + "/";
    if (owner_.uid != 0 || owner_.gid != 0) {
      request.name += " of " + std::to_string(owner_.uid) + ":" + std::to_string(owner_.gid);
    }
    paths.push_back(std::move(path));
  }
  // What is mounted inside another comes after it.
  std::ranges::stable_sort(paths, {}, [](const HostPath& path) {
    return std::distance(path.guest.begin(), path.guest.end());
  });
  return paths;
}

std::string NamedPaths::workdir() const {
  for (const Mount& mount : mounts_) {
    if (mount.is_whole() && is_within(places_.cwd, mount.guest)) return places_.cwd.string();
    // Mounting makes the directories above it.
    if (is_within(guest_of(mount), places_.cwd)) return places_.cwd.string();
  }
  return {};
}

std::string NamedPaths::rewrite(std::size_t word, const std::string& text) const {
  const auto named = named_.find(word);
  if (named == named_.end()) return text;
  const fs::path place = place_of(named->second);
  if (place.empty()) return text;
  const Argument& argument = named->second.argument;
  const bool relative = !argument.text.starts_with('/');
  if (place == argument.written && (!relative || !workdir().empty())) return text;
  return argument.before + place.string() + argument.after;
}

}  // namespace thimble::image
