// Which paths of the host a command names, and what of them goes into the guest: the package that a
// named file belongs to, or a named directory, but never the home directory, the root or a system
// directory as a whole. docs/images.md has the rules in words.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/image/plan.h"

namespace thimble::image {

class NamedPaths {
 public:
  NamedPaths(std::filesystem::path cwd, std::filesystem::path home)
      : cwd_(std::move(cwd)), home_(std::move(home)) {}

  // Notes the path in an argument of the command (PATH or --option=PATH), if it is one that exists
  // and may go in. Arguments are asked for again in the same order by `rewrite`.
  void take(const std::string& argument);
  // python's -m NAME, when NAME lies in the current directory.
  void take_module(const std::string& module);

  // The following are asked after the last take().
  Result<std::vector<HostPath>> mounts() const;
  // The host's current directory when the guest has it too, else empty.
  std::string workdir() const;
  // The argument as the guest must see it: itself, unless it is a symbolic link, relative to a
  // directory that the guest does not start in, or a file that could not keep its place.
  std::string rewrite(const std::string& argument) const;
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Mount {
    std::filesystem::path host;
    std::vector<std::string> only;  // single files of it; empty: all
    bool implied = false;           // a package root, not a directory that the user wrote
  };
  struct Argument {
    std::string option;          // "--root=" or nothing
    std::string text;            // as written
    std::filesystem::path path;  // canonical, exists
  };

  // False when the argument names no path of the host.
  bool parse(const std::string& argument, Argument& parsed) const;
  void take_file(const std::filesystem::path& file);
  void take_directory(const std::filesystem::path& directory);
  void add(Mount mount);
  const Mount* mount_of(const std::filesystem::path& path) const;
  std::filesystem::path guest_of(const Mount& mount) const;

  bool is_forbidden(const std::filesystem::path& directory) const;
  bool is_collection(const std::filesystem::path& directory) const;
  std::filesystem::path package_root(const std::filesystem::path& file) const;

  std::filesystem::path cwd_;
  std::filesystem::path home_;
  std::vector<Mount> mounts_;
  std::vector<std::string> notes_;
};

}  // namespace thimble::image
