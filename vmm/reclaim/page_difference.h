// In what a page of a clone differs from the template's: words of 8 bytes, in runs
//
//   2  number of the first word        2  how many        8 each  the words as they are now
//
// in rising order, numbers as this machine has them: it is kept in memory only, by the process that
// made it. Most pages that a guest changes differ in a lock or a list's end. A page with so many
// runs that they would need more room is one run of all words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace thimble {

constexpr size_t kPageBytes = 4096;
using PageView = std::span<const uint8_t, kPageBytes>;

// The longest that a page's can be.
constexpr size_t kMaxDifference = kPageBytes + 4;

// Writes what `now` has that `before` has not; the length, 0 for the same content.
size_t write_difference(PageView before, PageView now,
                        std::span<uint8_t, kMaxDifference> difference);

// `page` has the content that was `before`, and gets that of `now`.
void apply_difference(std::span<const uint8_t> difference, std::span<uint8_t, kPageBytes> page);

}  // namespace thimble
