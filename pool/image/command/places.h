// Which directories of the host may go into a guest as a whole: not the root, the home directory or
// what lies above it, not the system's own and not those that hold many unrelated things.
#pragma once

#include <filesystem>

namespace thimble::image {

struct Places {
  std::filesystem::path cwd;   // absolute
  std::filesystem::path home;  // absolute; empty when unknown

  // Must not go in as a whole.
  [[nodiscard]] bool is_forbidden(const std::filesystem::path& directory) const;
  // A file in such a directory has neighbours that have nothing to do with it: ~/Downloads, ~/bin,
  // and everything below ~/.hidden.
  [[nodiscard]] bool is_collection(const std::filesystem::path& directory) const;
};

// The guest has its own of these: /usr, /etc, /proc …
bool is_system(const std::filesystem::path& path);
// Holds many unrelated things, or is the guest's own: /, /tmp, /srv, /usr/lib …
bool is_shared_place(const std::filesystem::path& path);

}  // namespace thimble::image
