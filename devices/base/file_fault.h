// Why a file could not be had. What is stored is judged by what it is, never by what the host could
// not do just now: without descriptors or memory the best of files cannot be opened.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>

#include "devices/result.h"

namespace thimble {

// Has two kinds: this one, for what is done about a file, and its Error's, for whoever asked.
struct FileFault : Error {
  enum class Kind {
    kMissing,  // there is none
    kUnsound,  // something is there that cannot be it: a link, a FIFO, somebody else's, damaged
    kPassing,  // the host could not: says nothing about the file
  };
  Kind kind = Kind::kPassing;
};

// Becomes a Result<T> by itself where nobody asks for the kind.
template <class T>
using FileResult = std::expected<T, FileFault>;

[[nodiscard]] inline std::unexpected<FileFault> unsound(std::string message) {
  return std::unexpected(
      FileFault{{std::move(message), ErrorKind::kCorrupt}, FileFault::Kind::kUnsound});
}

[[nodiscard]] inline FileFault::Kind kind_of_errno(int err) {
  switch (err) {
    case ENOENT:
      return FileFault::Kind::kMissing;
    case ELOOP:    // a link where none is followed
    case ENOTDIR:  // a file on the way
    case EISDIR:
    case EXDEV:  // a way out of the folder
    case ENXIO:  // a socket, a FIFO without a reader
      return FileFault::Kind::kUnsound;
    default:
      return FileFault::Kind::kPassing;
  }
}

// `what: strerror(errno)`.
[[nodiscard]] inline std::unexpected<FileFault> file_fault(std::string_view what, int err = errno) {
  return std::unexpected(FileFault{{std::string(what) + ": " + std::strerror(err), error_kind(err)},
                                   kind_of_errno(err)});
}

// Passes a fault on with a prefix that says what was being done.
[[nodiscard]] inline std::unexpected<FileFault> fault_in(std::string_view what,
                                                         const FileFault& inner) {
  const Error& error = inner;
  return std::unexpected(
      FileFault{{std::string(what) + ": " + inner.message, error.kind}, inner.kind});
}

}  // namespace thimble
