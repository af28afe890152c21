// /proc/self/pagemap, for a process that will be confined and looks then which pages of its memory
// are there (MachineOptions::page_map).
#pragma once

#include "devices/fd.h"

namespace thimble {

// Where the pages are in the host's memory does not show in it, whoever opens it. None where /proc
// cannot be reached.
Fd open_page_map();

}  // namespace thimble
