// What a call that can fail returns. The message says what was tried and what to do about it,
// e.g. "open /dev/kvm: permission denied: add yourself to group kvm". For set-up and host errors
// only: what a guest does wrong is a device error or the end of that VM, never a Result.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace thimble {

struct Error {
  std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{std::move(message)});
}

// `what: strerror(errno)`.
[[nodiscard]] inline std::unexpected<Error> fail_errno(std::string_view what, int err = errno) {
  return fail(std::string(what) + ": " + std::strerror(err));
}

// Passes an error on with a prefix that says what was being done.
template <class T>
[[nodiscard]] std::unexpected<Error> fail_in(std::string_view what, const Result<T>& inner) {
  return fail(std::string(what) + ": " + inner.error().message);
}

}  // namespace thimble
