// Which pages of a mapping this process has: /proc/self/pagemap (Linux,
// Documentation/admin-guide/mm/pagemap.rst).
#pragma once

#include <cstdint>
#include <span>

#include "devices/result.h"
#include "vmm/snapshot/working_set.h"

namespace thimble {

// Of a private view of a file: pages that are there, and as written those that are no page of the
// file any more. `page_map` is the open pagemap.
Result<WorkingSet> touched_pages(std::span<const uint8_t> memory, int page_map);

}  // namespace thimble
