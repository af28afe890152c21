// An edge-triggered interrupt line into the guest's IOAPIC.
#pragma once

namespace thimble {

class IrqLine {
 public:
  virtual ~IrqLine() = default;
  // One edge. May be called from any thread and never blocks. An edge while the pin is masked is
  // lost, as on hardware; a device's status register tells the driver what it missed.
  virtual void pulse() = 0;
};

}  // namespace thimble
