// The image store on disk.
#include "tools/image/store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "tools/image/erofs.h"
#include "tools/image/files.h"
#include "tools/image/lock.h"
#include "tools/image/sha256.h"

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

bool unused_for(const fs::path& path, std::chrono::hours grace) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return true;
  const auto age =
      std::chrono::system_clock::now() - std::chrono::system_clock::from_time_t(status.st_mtime);
  return age > grace;
}

}  // namespace

Result<Store> Store::open() {
  const Result<fs::path> cache = cache_directory();
  if (!cache) return std::unexpected(cache.error());
  return open_at(*cache);
}

Result<Store> Store::open_at(const fs::path& cache) {
  const fs::path root = cache / "images";
  for (const char* part : {"names", "tmp", "locks", "logs"}) {
    if (const Result<void> made = make_directories(root / part); !made) {
      return fail("open the image store: " + made.error().message +
                  ": set THIMBLE_CACHE to a directory that you may write to");
    }
  }
  // Copies of the user's own directories lie here.
  ::chmod(root.c_str(), 0700);
  return Store(cache, root);
}

fs::path Store::name_path(const std::string& name) const {
  return root_ / "names" / (file_name_of(name) + ".json");
}
fs::path Store::lock_path(const std::string& name) const {
  return root_ / "locks" / file_name_of(name);
}
fs::path Store::log_path(const std::string& name) const {
  return root_ / "logs" / (file_name_of(name) + ".log");
}

std::optional<StoredName> Store::read_name(const fs::path& path) const {
  const Result<std::string> text = read_file(path, 1 << 16);
  if (!text) return std::nullopt;
  const json value = json::parse(*text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  auto member = [&value](const char* name) {
    const auto found = value.find(name);
    return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  StoredName entry{member("name"), member("digest"), member("key")};
  if (entry.name.empty() || entry.digest.size() != kDigestLength || !is_hex(entry.digest)) {
    return std::nullopt;
  }
  return entry;
}

std::vector<StoredName> Store::names() const {
  std::vector<StoredName> entries;
  for (const fs::path& path : list_directory(root_ / "names")) {
    if (path.extension() != ".json") continue;
    if (std::optional<StoredName> entry = read_name(path)) entries.push_back(std::move(*entry));
  }
  std::ranges::sort(entries, {}, &StoredName::name);
  return entries;
}

bool Store::is_named(const std::string& digest) const {
  return std::ranges::any_of(names(), [&](const StoredName& e) { return e.digest == digest; });
}

Result<std::optional<Image>> Store::lookup(const std::string& name, const std::string& key) const {
  const std::optional<StoredName> entry = read_name(name_path(name));
  if (!entry || entry->name != name || entry->key != key) return std::optional<Image>();
  Result<Image> image = open_image(entry->digest, name);
  // A damaged image is as good as none: it is built again.
  if (!image) return std::optional<Image>();
  return std::optional<Image>(std::move(*image));
}

Result<Image> Store::open_image(const std::string& digest, const std::string& name) const {
  const fs::path directory = root_ / digest;
  const fs::path manifest_path = directory / "manifest.json";
  const Result<std::string> text = read_file(manifest_path);
  if (!text) return fail("image " + name + ": " + text.error().message);
  if (sha256_text(*text) != digest) {
    return fail("image " + name + ": " + manifest_path.string() +
                " was altered: remove the image and build it again");
  }
  const Result<Manifest> manifest = manifest_from_json(*text, manifest_path.string());
  if (!manifest) return fail("image " + name + ": " + manifest.error().message);
  Image image = image_of(*manifest, name, digest, directory);
  if (const Result<void> sound = check_erofs_file(image.erofs); !sound) {
    return std::unexpected(sound.error());
  }
  std::error_code code;
  const std::uint64_t size = fs::file_size(image.erofs, code);
  if (code || size != manifest->rootfs_size) {
    return fail("image " + name + ": " + image.erofs.string() + " holds " + std::to_string(size) +
                " bytes, its manifest says " + std::to_string(manifest->rootfs_size) +
                ": remove the image and build it again");
  }
  ::utimensat(-1, directory.c_str(), nullptr, 0);  // sweep() sees that it is in use
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
    const std::optional<StoredName> entry = read_name(name_path(name));
    if (entry && entry->name == name) return open_image(entry->digest, name);
  }
  if (wanted.size() >= kShortestPrefix && wanted.size() <= kDigestLength && is_hex(wanted)) {
    std::vector<fs::path> matches;
    for (const fs::path& path : list_directory(root_)) {
      if (path.filename().string().starts_with(wanted)) matches.push_back(path);
    }
    if (matches.size() == 1) return open_image(matches[0].filename().string(), wanted);
  }
  return fail("image " + wanted +
              ": there is none of that name: `thimble image ls` shows what there is, `thimble "
              "image build` makes one");
}

Result<Manifest> Store::manifest(const Image& image) const {
  const fs::path path = root_ / image.digest / "manifest.json";
  const Result<std::string> text = read_file(path);
  if (!text) return std::unexpected(text.error());
  return manifest_from_json(*text, path.string());
}

Result<json> Store::inputs(const Image& image) const {
  const Result<Manifest> expected = manifest(image);
  if (!expected) return std::unexpected(expected.error());
  const fs::path path = root_ / image.digest / "inputs.json";
  const Result<std::string> text = read_file(path);
  if (!text) return std::unexpected(text.error());
  json value = json::parse(*text, nullptr, false);
  if (sha256_text(*text) != expected->inputs_sha256 || !value.is_object()) {
    return fail("image " + image.name + ": " + path.string() +
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

Result<void> Store::remove(std::string_view text) const {
  const std::string wanted(text);
  const std::optional<StoredName> entry = read_name(name_path(wanted));
  std::string digest;
  if (entry) {
    digest = entry->digest;
    if (::unlink(name_path(wanted).c_str()) != 0) return fail_errno("remove image " + wanted);
    if (is_named(digest)) return {};
  } else {
    const Result<Image> image = find(text);
    if (!image) return std::unexpected(image.error());
    digest = image->digest;
    for (const StoredName& other : names()) {
      if (other.digest == digest) ::unlink(name_path(other.name).c_str());
    }
  }
  remove_tree(root_ / digest);
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
  if (!open_image(digest, name)) {
    Result<void> done = replace_file(staged / "inputs.json", inputs_text);
    if (done) done = replace_file(staged / "manifest.json", text);
    if (done) done = sync_file(erofs);
    if (done) {
      remove_tree(root_ / digest);  // a damaged one of the same digest
      done = rename_path(staged, root_ / digest);
    }
    // Somebody else may have published the same bytes in between.
    if (!done && !open_image(digest, name)) return std::unexpected(done.error());
  }
  if (const Result<void> named = set_name({name, digest, key}); !named) {
    return std::unexpected(named.error());
  }
  return open_image(digest, name);
}

Result<void> Store::set_name(const StoredName& entry) const {
  return replace_file(
      name_path(entry.name),
      to_text({{"name", entry.name}, {"digest", entry.digest}, {"key", entry.key}}));
}

Result<fs::path> Store::make_build_directory(const std::string& name) const {
  // The process id is only there to be unique: who owns the directory is told by the lock.
  fs::path path = root_ / "tmp" / (file_name_of(name) + "." + std::to_string(::getpid()));
  remove_tree(path);
  if (const Result<void> made = make_directories(path); !made) {
    return std::unexpected(made.error());
  }
  return path;
}

void Store::sweep() const {
  for (const fs::path& path : list_directory(root_ / "tmp")) {
    const std::string lock_name = path.stem().string();
    const Result<std::optional<FileLock>> lock = FileLock::try_take(root_ / "locks" / lock_name);
    if (lock && *lock) remove_tree(path);
  }
  for (const StoredName& entry : names()) {
    if (entry.name.starts_with(kHostPathPrefix) &&
        unused_for(root_ / entry.digest, kHostPathGrace)) {
      ::unlink(name_path(entry.name).c_str());
    }
  }
  for (const fs::path& path : list_directory(root_)) {
    const std::string name = path.filename().string();
    if (name.size() != kDigestLength || !is_hex(name)) continue;
    if (unused_for(path, kUnnamedGrace) && !is_named(name)) remove_tree(path);
  }
}

}  // namespace thimble::image
