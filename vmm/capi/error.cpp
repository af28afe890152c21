// The errors of thimble.h.
#include <cstdlib>
#include <cstring>

#include "vmm/capi/answer.h"

using thimble::ErrorKind;

// One piece of memory, with the text behind it.
struct thimble_error {
  thimble_error_kind kind;
  const char* message;
};

namespace {

constexpr thimble_error kNoMemory{THIMBLE_ERROR_SHORTAGE, "out of memory"};

constexpr thimble_error_kind c_kind(ErrorKind kind) {
  return static_cast<thimble_error_kind>(kind);
}
static_assert(c_kind(ErrorKind::kOther) == THIMBLE_ERROR_OTHER);
static_assert(c_kind(ErrorKind::kInvalid) == THIMBLE_ERROR_INVALID);
static_assert(c_kind(ErrorKind::kWrongState) == THIMBLE_ERROR_WRONG_STATE);
static_assert(c_kind(ErrorKind::kMissing) == THIMBLE_ERROR_MISSING);
static_assert(c_kind(ErrorKind::kDenied) == THIMBLE_ERROR_DENIED);
static_assert(c_kind(ErrorKind::kUnsupported) == THIMBLE_ERROR_UNSUPPORTED);
static_assert(c_kind(ErrorKind::kCorrupt) == THIMBLE_ERROR_CORRUPT);
static_assert(c_kind(ErrorKind::kMismatch) == THIMBLE_ERROR_MISMATCH);
static_assert(c_kind(ErrorKind::kShortage) == THIMBLE_ERROR_SHORTAGE);

thimble_error* make_error(thimble_error_kind kind, const char* message) {
  const size_t size = std::strlen(message) + 1;
  auto* const block = static_cast<char*>(std::malloc(sizeof(thimble_error) + size));
  if (block == nullptr) return const_cast<thimble_error*>(&kNoMemory);
  char* const text = block + sizeof(thimble_error);
  std::memcpy(text, message, size);
  return new (block) thimble_error{kind, text};
}

}  // namespace

thimble_error_kind thimble::capi::refuse(thimble_error** error, ErrorKind kind,
                                         const char* message) noexcept {
  if (error != nullptr) *error = make_error(c_kind(kind), message);
  return c_kind(kind);
}

thimble_error_kind thimble_error_get_kind(const thimble_error* error) noexcept {
  return error == nullptr ? THIMBLE_OK : error->kind;
}

const char* thimble_error_message(const thimble_error* error) noexcept {
  return error == nullptr ? "" : error->message;
}

void thimble_error_free(thimble_error* error) noexcept {
  if (error != &kNoMemory) std::free(error);
}

const char* thimble_error_kind_name(thimble_error_kind kind) noexcept {
  switch (kind) {
    case THIMBLE_OK:
      return "no error";
    case THIMBLE_ERROR_OTHER:
      break;
    case THIMBLE_ERROR_INVALID:
      return "invalid";
    case THIMBLE_ERROR_WRONG_STATE:
      return "wrong state";
    case THIMBLE_ERROR_MISSING:
      return "missing";
    case THIMBLE_ERROR_DENIED:
      return "denied";
    case THIMBLE_ERROR_UNSUPPORTED:
      return "unsupported";
    case THIMBLE_ERROR_CORRUPT:
      return "corrupt";
    case THIMBLE_ERROR_MISMATCH:
      return "mismatch";
    case THIMBLE_ERROR_SHORTAGE:
      return "shortage";
  }
  return "other";
}

const char* thimble_version() noexcept { return THIMBLE_VERSION; }
