// Whether this is a build with a sanitizer, which needs more of the host than the code itself.
#pragma once

namespace thimble {

// GCC and clang say it in their own ways.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define THIMBLE_SANITIZED
#endif
#endif
#if defined(THIMBLE_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace thimble
