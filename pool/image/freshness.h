// What "latest" or a version range of an npm package means changes with time (docs/images.md).
#pragma once

#include <chrono>

#include "pool/image/request.h"
#include "pool/image/store.h"

namespace thimble::image {

// A version that was found out this long ago is looked for again, beside the start that sees it.
inline constexpr std::chrono::hours kResolveAfter{24};
// The next try when that failed, for want of a network perhaps.
inline constexpr std::chrono::hours kRetryAfter{1};
// With --prefer-online one answer serves for so long.
inline constexpr std::chrono::minutes kResolveNowAfter{1};

// Whether the version that the image of this request has was found out longer ago than `age`. Never
// for what has no version to be found out, and where install scripts have run.
bool is_older(const Store& store, const Request& request, std::chrono::seconds age);

// Before looking for the version: as if it had been found out so that kRetryAfter is left.
void note_try(const Store& store, const Request& request);

}  // namespace thimble::image
