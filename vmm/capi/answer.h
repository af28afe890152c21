// The way out of a C function: what kind of error it was, and its description where it is wanted.
// No exception passes.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "thimble/result.h"
#include "thimble/thimble.h"

namespace thimble::capi {

// Puts a description where `error` points, if anywhere. Where there is no memory for it, one that
// says so.
thimble_error_kind refuse(thimble_error** error, ErrorKind kind, const char* message) noexcept;

// Does what a C function is for. `body` returns a Result<void>.
template <class Body>
thimble_error_kind answer(thimble_error** error, Body body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    const Result<void> done = body();
    if (done) return THIMBLE_OK;
    return refuse(error, done.error().kind, done.error().message.c_str());
  } catch (const std::bad_alloc&) {
    return refuse(error, ErrorKind::kShortage, "out of memory");
  } catch (const std::exception& thrown) {
    return refuse(error, ErrorKind::kOther, thrown.what());
  }
}

// An argument that must not be NULL.
template <class Argument>
[[nodiscard]] Result<void> given(const Argument* argument, const char* name) {
  if (argument != nullptr) return {};
  return fail(ErrorKind::kInvalid, std::string(name) + " is NULL");
}

}  // namespace thimble::capi
