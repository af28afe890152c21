// What becomes of a VM process whose snapshot's memory file is cut while it runs: every page that
// was not yet read is gone. vCPUs learn it from KVM and end the machine with a message; any other
// thread that touches such a page gets a SIGBUS, and with this a message goes to the parent instead
// of a core dump.
#pragma once

#include "devices/result.h"

namespace thimble {

// For the whole process, for good. `channel` stays open as long as the process lives.
Result<void> report_lost_memory(int channel);

}  // namespace thimble
