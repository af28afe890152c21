#include "guest-init/power.h"

#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "guest-init/protocol.h"

namespace thimble::init {

void power_off() {
  if (ioperm(protocol::kPowerOffPort, 1, 1) == 0) {
    outb(protocol::kPowerOffValue, protocol::kPowerOffPort);
  }
  // Another VMM has no such port: a reset ends its guest too.
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

void die(const Failure& failure) {
  char line[512];
  const int length =
      snprintf(line, sizeof line, "thimble-init: %s: %s\n", failure.text, strerror(failure.error));
  // Descriptor 2 is the console that the kernel opened for PID 1.
  if (length > 0 && write(2, line, static_cast<size_t>(length)) < 0) {
    // Nowhere left to say it.
  }
  power_off();
}

}  // namespace thimble::init
