// What image somebody asks for, before anything is built: a recipe, an npm package, a directory, a
// host path that a command names, an image by name, or a bare erofs file. Parsing takes any input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

// A package of the npm registry. Git, URL, file and alias specifications are refused by
// parse_npm_spec: they have no integrity hash that could be locked.
struct NpmSpec {
  std::string name;   // "server" or "@scope/server"
  std::string range;  // version, range or tag; "latest" when not given
};

Result<NpmSpec> parse_npm_spec(std::string_view text);
// Whether it is one version for ever, and not what the registry says today.
bool is_exact(const NpmSpec& spec);

enum class NodeSource {
  kNpm,     // the pinned node from the npm registry
  kSystem,  // the `node` of this machine
};

// What a guest gave out after the install scripts of a package had run in it: no word of it is
// trusted, and all of it stays in the image that is made of it (guest_root.h).
struct GuestRoot {
  std::filesystem::path
      archive;           // tar, in a folder of our own on the store's file system; is taken
  std::string manifest;  // of the image that it ran in, which says what was installed:
  std::string inputs;    // manifest.json and inputs.json
};

struct Request {
  enum class Kind {
    kRecipe,     // `name` is "node", "python" or "busybox"
    kNpm,        // `npm`
    kDirectory,  // `path` is a whole root file system; `name` is given by the user
    kHostPath,   // `path` is a directory of the host that goes in as it is
    kNamed,      // `name` is an image that exists already
    kFile,       // `path` is an erofs image of the user's own
  };

  Kind kind = Kind::kNamed;
  std::string name;  // how the image is called in the store; see each maker below
  NpmSpec npm;
  NodeSource node = NodeSource::kNpm;
  std::filesystem::path path;     // absolute
  std::vector<std::string> only;  // kHostPath: just these files of `path`
  // kHostPath: symbolic links that are made in it, name and target. With neither these nor `only`
  // all of `path` goes in.
  std::map<std::string, std::string> links;
  std::vector<std::string> folders;  // kHostPath with `only` or `links`: empty directories in it
  // kHostPath: who everything in it belongs to in the guest.
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  bool leave_out_git = false;           // kHostPath: without .git
  std::vector<std::string> command;     // kDirectory: default command
  std::optional<GuestRoot> guest_root;  // kNpm: made of this, and nothing is fetched
};

Result<Request> request_recipe(std::string_view recipe);
Result<Request> request_npm(std::string_view spec);
Result<Request> request_directory(const std::filesystem::path& directory, std::string name);
// What `--image X` means: a file when X has a slash or ends in .erofs, "npm:…", a recipe, or a
// name.
Result<Request> request_image(std::string_view text, const std::filesystem::path& cwd);

// An image's key ends so when the install scripts of its package have run: it serves wherever the
// one without them would.
inline constexpr const char* kWithScripts = " install scripts run";

bool is_recipe(std::string_view name);
// Names that a user may give: letters, digits, '.', '_', '-', at most 64, not led by '.' or '-'.
Result<void> check_image_name(std::string_view name);

}  // namespace thimble::image
