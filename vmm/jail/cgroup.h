// A cgroup (v2) of its own for a VMM process, with a limit on memory and on processes. It is made
// beside the one that thimble itself runs in, since a cgroup with processes cannot have children
// with such limits. Only where that place was given to us: the parent group is marked as delegated
// (user.delegate or trusted.delegate, as systemd does), we may write it, and its children have the
// controllers. Nothing is changed in groups that others use.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class Cgroup {
 public:
  // No cgroup; its destructor does nothing.
  Cgroup() = default;

  // `memory_bytes` is the guest's; what the VMM and the kernel need for it comes on top. Nothing
  // when no place for it was delegated; an error when one was, but could not be used.
  static Result<Cgroup> make(uint64_t memory_bytes);

  Cgroup(Cgroup&& other) noexcept
      : directory_(std::move(other.directory_)), path_(std::exchange(other.path_, {})) {}
  Cgroup& operator=(Cgroup&& other) noexcept;
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  // Removes it; its processes must be gone. Those that killed thimbles left are removed by make().
  ~Cgroup();

  // To start a process in, or -1.
  [[nodiscard]] int fd() const { return directory_.get(); }

 private:
  Cgroup(Fd directory, std::string path)
      : directory_(std::move(directory)), path_(std::move(path)) {}

  Fd directory_;
  std::string path_;
};

}  // namespace thimble
