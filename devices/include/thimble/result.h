// What a call that can fail returns. The message says what was tried and what to do about it,
// e.g. "open /dev/kvm: permission denied: add yourself to group kvm"; the kind is for programs. For
// set-up and host errors only: what a guest does wrong is a device error or the end of that VM,
// never a Result.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace thimble {

// What a program may want to tell apart. The same names and numbers are in thimble/thimble.h: new
// ones are added at the end, none goes or changes.
enum class ErrorKind : uint8_t {
  kOther = 1,        // of none of these kinds
  kInvalid = 2,      // what was asked for cannot be, here or anywhere
  kWrongState = 3,   // not what the object is doing now: not paused, has ended, has run already
  kMissing = 4,      // a file that is not there
  kDenied = 5,       // this host does not allow it to this user
  kUnsupported = 6,  // this host, or its kernel, cannot: no KVM
  kCorrupt = 7,      // a file is not what it should be, or was cut or altered
  kMismatch = 8,     // sound, but made for something else: another machine, host or version
  kShortage = 9,     // no memory, descriptors, room on a disk: the same may go well later
};

struct Error {
  std::string message;
  ErrorKind kind = ErrorKind::kOther;
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline ErrorKind error_kind(int err) {
  switch (err) {
    case ENOENT:
      return ErrorKind::kMissing;
    case EACCES:
    case EPERM:
      return ErrorKind::kDenied;
    case EBADF:
      return ErrorKind::kInvalid;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case EDQUOT:
    case EAGAIN:
      return ErrorKind::kShortage;
    default:
      return ErrorKind::kOther;
  }
}

[[nodiscard]] inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{std::move(message)});
}

[[nodiscard]] inline std::unexpected<Error> fail(ErrorKind kind, std::string message) {
  return std::unexpected(Error{std::move(message), kind});
}

// `what: strerror(errno)`.
[[nodiscard]] inline std::unexpected<Error> fail_errno(std::string_view what, int err = errno) {
  return fail(error_kind(err), std::string(what) + ": " + std::strerror(err));
}

// Passes an error on with a prefix that says what was being done.
template <class T>
[[nodiscard]] std::unexpected<Error> fail_in(std::string_view what, const Result<T>& inner) {
  return fail(inner.error().kind, std::string(what) + ": " + inner.error().message);
}

// The same error, which is of this kind where nobody has said so yet.
[[nodiscard]] inline std::unexpected<Error> fail_as(ErrorKind kind, Error error) {
  if (error.kind == ErrorKind::kOther) error.kind = kind;
  return std::unexpected(std::move(error));
}

}  // namespace thimble
