// Gives descriptors the numbers that a program expects, in a child between its start and its exec:
// system calls only, since the child's memory may be its parent's.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

namespace thimble {

constexpr size_t kMaxPlaced = 8;

// `descriptors` get `first`, first + 1, …, in their order, and stay open over an exec. Any of them
// may have any number before, one of these too. False with errno.
inline bool place_descriptors(std::span<const int> descriptors, int first) {
  if (descriptors.size() > kMaxPlaced) return errno = E2BIG, false;
  const int above = first + static_cast<int>(descriptors.size());
  std::array<int, kMaxPlaced> moved{};
  for (size_t i = 0; i < descriptors.size(); ++i) {
    // A copy above all places, or the first one placed could close a later one.
    moved[i] = ::fcntl(descriptors[i], F_DUPFD_CLOEXEC, above);
    if (moved[i] < 0) return false;
  }
  for (size_t i = 0; i < descriptors.size(); ++i) {
    if (::dup2(moved[i], first + static_cast<int>(i)) < 0) return false;
  }
  return true;
}

}  // namespace thimble
