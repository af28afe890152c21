// The image store on disk.
#include "pool/image/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "devices/foreign_json.h"
#include "pool/image/erofs_check.h"
#include "pool/image/files.h"
#include "pool/image/sha256.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::size_t kDigestLength = 64;
constexpr std::size_t kShortestPrefix = 8;
constexpr std::size_t kLongestFileName = 120;
// An image without a name may still be on its way into a VM that was planned just now.
constexpr std::chrono::hours kUnnamedGrace{1};
// Copies of host directories come back in a moment when they are wanted again.
constexpr std::chrono::hours kHostPathGrace{24 * 7};
constexpr std::string_view kHostPathPrefix = "path:";
constexpr std::size_t kLongestName = 1 << 16;
constexpr std::size_t kLongestManifest = 64 << 20;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// A file name for any image name: letters and digits stay, the rest is percent-encoded; long names
// (paths) end in their hash.
std::string file_name_of(const std::string& name) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string encoded;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || (c == '.' && !encoded.empty());
    if (plain) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 15];
    }
  }
  if (encoded.size() <= kLongestFileName) return encoded;
  return encoded.substr(0, kLongestFileName - 33) + "-" + sha256_text(name).substr(0, 32);
}

Result<fs::path> cache_directory() {
  for (const auto& [variable, below] :
       {std::pair("THIMBLE_CACHE", ""), std::pair("XDG_CACHE_HOME", "thimble"),
        std::pair("HOME", ".cache/thimble")}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    const fs::path path(value);
    if (!path.is_absolute()) {
      return fail(std::string(variable) + "=" + value + ": must be an absolute path");
    }
    return path / below;
  }
  return fail("find the cache directory: neither THIMBLE_CACHE nor HOME is set: set one of them");
}

Image image_of(const Manifest& manifest, const std::string& name, const std::string& digest,
               const fs::path& directory) {
  return Image{.name = name,
               .digest = digest,
               .erofs = directory / "rootfs.erofs",
               .size = manifest.rootfs_size,
               .default_command = manifest.command,
               .commands = manifest.commands,
               .env = manifest.env,
               .workdir = manifest.workdir};
}

std::string name_file(const std::string& name) { return "names/" + file_name_of(name) + ".json"; }
std::string lock_file(const std::string& name) { return "locks/" + file_name_of(name); }
std::string log_file(const std::string& name) { return "logs/" + file_name_of(name) + ".log"; }

bool is_digest(const std::string& name) { return name.size() == kDigestLength && is_hex(name); }

FileFault in_image(const std::string& name, FileFault fault) {
  fault.message = "image " + name + ": " + fault.message;
  return fault;
}

// Copies of the user's own directories lie here: nobody else may enter, whatever it was made with.
FileResult<OwnedFolder> open_root(const OwnedFolder& cache) {
  const auto open = [&] {
    return OwnedFolder::open_in(cache.fd(), "images", cache.path_of("images"));
  };
  auto root = open();
  if (root || root.error().kind == FileFault::Kind::kPassing) return root;
  const auto made = cache.make_folder("images");
  if (!made) return std::unexpected(made.error());
  ::fchmod(made->fd(), 0700);
  return open();
}

// In a folder that others have filled.
Result<void> write_beside(const fs::path& staged, std::string_view inputs,
                          std::string_view manifest) {
  const auto folder = OwnedFolder::open(staged, {.others_may_read = true});
  if (!folder) return std::unexpected(folder.error());
  auto done = folder->replace("inputs.json", inputs, OwnedFolder::Durable::kYes);
  if (done) done = folder->replace("manifest.json", manifest, OwnedFolder::Durable::kYes);
  return done;
}

Error cannot_open(const FileFault& fault) {
  const std::string what = "open the image store: " + fault.message;
  const bool says_how = what.contains("THIMBLE_CACHE") || what.contains("chmod");
  return {says_how ? what : what + ": set THIMBLE_CACHE to a directory that you may write to"};
}

std::vector<std::string> names_in(const OwnedFolder& folder) {
  return folder.names().value_or(std::vector<std::string>());
}

}  // namespace

Result<Store> Store::open() {
  const Result<fs::path> cache = cache_directory();
  if (!cache) return std::unexpected(cache.error());
  return open_at(*cache);
}

Result<Store> Store::open_at(const fs::path& cache) {
  const auto opened = OwnedFolder::make(
      cache,
      {.others_may_read = true,
       .may_be_link = true,
       .if_foreign = "set THIMBLE_CACHE to a folder of your own (an image of theirs that you "
                     "trust runs by --image FILE)"});
  if (!opened) return std::unexpected(cannot_open(opened.error()));
  auto root = open_root(*opened);
  if (!root) return std::unexpected(cannot_open(root.error()));
  return Store(cache, std::move(*root));
}

fs::path Store::log_path(const std::string& name) const { return root_.path_of(log_file(name)); }

Result<std::optional<FileLock>> Store::lock(const std::string& name) const {
  if (const auto made = root_.make_folder("locks"); !made) return std::unexpected(made.error());
  return FileLock::take(root_, lock_file(name));
}

FileLock Store::adopt_lock(const std::string& name, Fd file) const {
  return FileLock::adopt(root_, lock_file(name), std::move(file));
}

pid_t Store::lock_holder(const std::string& name) const {
  return thimble::lock_holder(root_, lock_file(name));
}

Result<Fd> Store::make_log(const std::string& name) const {
  remove_log(name);
  if (const auto made = root_.make_folder("logs"); !made) return std::unexpected(made.error());
  return root_.write_to(log_file(name), O_APPEND);
}

FileResult<Fd> Store::open_log(const std::string& name) const { return root_.read(log_file(name)); }

void Store::remove_log(const std::string& name) const {
  [[maybe_unused]] const auto gone = root_.remove(log_file(name));
}

// Nothing: there is no such name, or what stands there is none.
FileResult<std::optional<StoredName>> Store::read_name(const std::string& file) const {
  const auto text = root_.content(file, kLongestName);
  if (!text && text.error().kind == FileFault::Kind::kPassing) {
    return std::unexpected(text.error());
  }
  if (!text) return std::nullopt;
  const json value = read_foreign_json(*text);
  if (!value.is_object()) return std::nullopt;
  auto member = [&value](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  StoredName entry{member("name"), member("digest"), member("key")};
  if (entry.name.empty() || !is_digest(entry.digest)) return std::nullopt;
  return entry;
}

FileResult<std::vector<StoredName>> Store::names() const {
  std::vector<StoredName> entries;
  const auto folder = root_.folder("names");
  if (!folder && folder.error().kind == FileFault::Kind::kMissing) return entries;
  const auto files = folder ? folder->names() : std::unexpected(folder.error());
  if (!files) return std::unexpected(files.error());
  for (const std::string& file : *files) {
    if (!file.ends_with(".json")) continue;
    auto entry = read_name("names/" + file);
    if (!entry) return std::unexpected(entry.error());
    if (*entry) entries.push_back(std::move(**entry));
  }
  std::ranges::sort(entries, {}, &StoredName::name);
  return entries;
}

FileResult<bool> Store::is_named(const std::string& digest) const {
  const auto all = names();
  if (!all) return std::unexpected(all.error());
  return std::ranges::any_of(*all, [&](const StoredName& e) { return e.digest == digest; });
}

Result<std::optional<Image>> Store::lookup(const std::string& name, const std::string& key) const {
  const auto found = read_name(name_file(name));
  if (!found) return std::unexpected(found.error());
  const std::optional<StoredName>& entry = *found;
  if (!entry || entry->name != name || entry->key != key) return std::optional<Image>();
  auto image = open_image(entry->digest, name);
  if (image) return std::optional<Image>(std::move(*image));
  if (image.error().kind == FileFault::Kind::kPassing) return std::unexpected(image.error());
  // A damaged image is as good as none: it is built again.
  return std::optional<Image>();
}

std::string Store::key_of(const std::string& name) const {
  const auto found = read_name(name_file(name));
  return found && *found && (*found)->name == name ? (*found)->key : std::string();
}

FileResult<Image> Store::open_image(const std::string& digest, const std::string& name) const {
  const std::string manifest_file = digest + "/manifest.json";
  const fs::path path = root_.path_of(manifest_file);
  const auto text = root_.content(manifest_file, kLongestManifest);
  if (!text) return std::unexpected(in_image(name, text.error()));
  if (sha256_text(*text) != digest) {
    return unsound("image " + name + ": " + path.string() +
                   " was altered: remove the image and build it again");
  }
  const Result<Manifest> manifest = manifest_from_json(*text, path.string());
  if (!manifest) return unsound("image " + name + ": " + manifest.error().message);
  Image image = image_of(*manifest, name, digest, path.parent_path());
  const auto erofs = root_.read(digest + "/rootfs.erofs");
  if (!erofs) return std::unexpected(in_image(name, erofs.error()));
  const auto size = check_erofs(erofs->get(), image.erofs);
  if (!size) return std::unexpected(size.error());
  if (*size != manifest->rootfs_size) {
    return unsound("image " + name + ": " + image.erofs.string() + " holds " +
                   std::to_string(*size) + " bytes, its manifest says " +
                   std::to_string(manifest->rootfs_size) + ": remove the image and build it again");
  }
  // sweep() sees that it is in use.
  ::utimensat(root_.fd(), digest.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  return image;
}

Result<Image> Store::find(std::string_view text) const {
  const std::string wanted(text);
  std::string versionless;
  if (wanted.starts_with("npm:") && wanted.find('@', 5) == std::string::npos) {
    versionless = wanted + "@latest";
  }
  for (const std::string& name : {wanted, versionless}) {
    if (name.empty()) continue;
    const auto entry = read_name(name_file(name));
    if (!entry) return std::unexpected(entry.error());
    if (*entry && (*entry)->name == name) return open_image((*entry)->digest, name);
  }
  for (const StoredName& entry : names().value_or(std::vector<StoredName>())) {
    auto image = open_image(entry.digest, entry.name);
    const Result<Manifest> contents = image ? manifest(*image) : fail("");
    if (contents && (contents->name == wanted || contents->name == "npm:" + wanted)) return image;
    if (image && entry.name == "npm:" + wanted + "@latest") return image;
  }
  if (wanted.size() >= kShortestPrefix && wanted.size() <= kDigestLength && is_hex(wanted)) {
    auto matches = root_.names();
    if (!matches) return std::unexpected(matches.error());
    std::erase_if(*matches, [&](const std::string& name) { return !name.starts_with(wanted); });
    if (matches->size() == 1) return open_image(matches->front(), wanted);
  }
  return fail("image " + wanted +
              ": there is none of that name: `thimble image ls` shows what there is, `thimble "
              "image build` makes one");
}

Result<Manifest> Store::manifest(const Image& image) const {
  const std::string file = image.digest + "/manifest.json";
  const auto text = root_.content(file, kLongestManifest);
  if (!text) return std::unexpected(text.error());
  return manifest_from_json(*text, root_.path_of(file));
}

std::string Store::title(const Image& image) const {
  const Result<Manifest> contents = manifest(image);
  if (!contents || contents->name == image.name || !image.name.starts_with("npm:")) {
    return image.name;
  }
  return image.name + " (" + contents->name.substr(contents->name.rfind('@') + 1) + ")";
}

Result<json> Store::inputs(const Image& image) const {
  const Result<Manifest> expected = manifest(image);
  if (!expected) return std::unexpected(expected.error());
  const std::string file = image.digest + "/inputs.json";
  const auto text = root_.content(file, kLongestManifest);
  if (!text) return std::unexpected(text.error());
  json value = read_foreign_json(*text);
  if (sha256_text(*text) != expected->inputs_sha256 || !value.is_object()) {
    return fail("image " + image.name + ": " + root_.path_of(file) +
                " was altered: remove the image and build it again");
  }
  return value;
}

Result<void> Store::verify(const Image& image) const {
  const Result<Manifest> expected = manifest(image);
  if (!expected) return std::unexpected(expected.error());
  const Result<std::string> actual = sha256_file(image.erofs);
  if (!actual) return std::unexpected(actual.error());
  if (*actual == expected->rootfs_sha256) return {};
  return fail("image " + image.name + ": " + image.erofs.string() +
              " was altered: its SHA-256 is not the manifest's: remove it and build it again");
}

void Store::remove_image(const std::string& digest) const { remove_tree(root_.path_of(digest)); }

Result<void> Store::remove(std::string_view text) const {
  const std::string wanted(text);
  const auto entry = read_name(name_file(wanted));
  if (!entry) return std::unexpected(entry.error());
  const auto all = names();
  if (!all) return std::unexpected(all.error());
  std::string digest;
  if (*entry) {
    digest = (*entry)->digest;
    if (auto gone = root_.remove(name_file(wanted)); !gone) return std::unexpected(gone.error());
    const auto named = is_named(digest);
    if (!named) return std::unexpected(named.error());
    if (*named) return {};
  } else {
    const Result<Image> image = find(text);
    if (!image) return std::unexpected(image.error());
    digest = image->digest;
    for (const StoredName& other : *all) {
      if (other.digest != digest) continue;
      if (auto gone = root_.remove(name_file(other.name)); !gone) {
        return std::unexpected(gone.error());
      }
    }
  }
  remove_image(digest);
  return {};
}

Result<Image> Store::publish(const fs::path& staged, Manifest manifest, const json& inputs,
                             const std::string& name, const std::string& key) const {
  const fs::path erofs = staged / "rootfs.erofs";
  if (const Result<void> sound = check_erofs_file(erofs); !sound) {
    return std::unexpected(sound.error());
  }
  Result<std::string> hash = sha256_file(erofs);
  if (!hash) return std::unexpected(hash.error());
  std::error_code code;
  manifest.rootfs_sha256 = std::move(*hash);
  manifest.rootfs_size = fs::file_size(erofs, code);
  const std::string inputs_text = to_text(inputs);
  manifest.inputs_sha256 = sha256_text(inputs_text);
  const std::string text = manifest_to_json(manifest);
  const std::string digest = sha256_text(text);
  const auto there = open_image(digest, name);
  if (!there && there.error().kind == FileFault::Kind::kPassing) {
    return std::unexpected(there.error());
  }
  if (!there) {
    Result<void> done = write_beside(staged, inputs_text, text);
    if (done) done = sync_file(erofs);
    if (done) {
      remove_image(digest);  // a damaged one of the same digest
      done = rename_path(staged, root_.path_of(digest));
    }
    // Somebody else may have published the same bytes in between.
    if (!done && !open_image(digest, name)) return std::unexpected(done.error());
  }
  if (const Result<void> named = set_name({name, digest, key}); !named) {
    return std::unexpected(named.error());
  }
  return open_image(digest, name);
}

fs::file_time_type Store::named_at(const std::string& name) const {
  std::error_code code;
  const fs::file_time_type time = fs::last_write_time(root_.path_of(name_file(name)), code);
  return code ? fs::file_time_type::min() : time;
}

void Store::set_named_at(const std::string& name, fs::file_time_type time) const {
  std::error_code ignored;
  fs::last_write_time(root_.path_of(name_file(name)), time, ignored);
}

Result<void> Store::set_name(const StoredName& entry) const {
  if (const auto made = root_.make_folder("names"); !made) return std::unexpected(made.error());
  const std::string text =
      to_text({{"name", entry.name}, {"digest", entry.digest}, {"key", entry.key}});
  return root_.replace(name_file(entry.name), text, OwnedFolder::Durable::kYes);
}

Result<fs::path> Store::make_build_directory(const std::string& name) const {
  const auto above = root_.make_folder("tmp");
  if (!above) return std::unexpected(above.error());
  // The process id is only there to be unique: who owns the directory is told by the lock.
  const std::string directory = file_name_of(name) + "." + std::to_string(::getpid());
  // Who has the lock is alone: what lies there was left by builders that were killed.
  for (const fs::path other : names_in(*above)) {
    if (other.stem() == file_name_of(name)) remove_tree(above->path_of(other.string()));
  }
  const auto made = above->make_folder(directory);
  if (!made) return std::unexpected(made.error());
  return made->path();
}

bool Store::unused_for(const std::string& digest, std::chrono::hours grace) const {
  struct stat status{};
  if (::fstatat(root_.fd(), digest.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT;
  }
  const auto age =
      std::chrono::system_clock::now() - std::chrono::system_clock::from_time_t(status.st_mtime);
  return age > grace;
}

// What cannot be looked at just now stays.
void Store::sweep() const {
  const auto builds = root_.folder("tmp");
  for (const fs::path name : builds ? names_in(*builds) : std::vector<std::string>()) {
    const auto lock = FileLock::take(root_, "locks/" + name.stem().string());
    if (lock && *lock) remove_tree(builds->path_of(name.string()));
  }
  const auto all = names();
  if (!all) return;
  for (const StoredName& entry : *all) {
    if (!entry.name.starts_with(kHostPathPrefix)) continue;
    if (!unused_for(entry.digest, kHostPathGrace)) continue;
    [[maybe_unused]] const auto gone = root_.remove(name_file(entry.name));
  }
  for (const std::string& name : names_in(root_)) {
    if (!is_digest(name) || !unused_for(name, kUnnamedGrace)) continue;
    if (!is_named(name).value_or(true)) remove_image(name);
  }
}

}  // namespace thimble::image
