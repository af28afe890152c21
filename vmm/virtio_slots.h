// The virtio devices of one machine in their places: each gets a page of the MMIO hole, an IOAPIC
// pin, and one ioeventfd per queue that the event loop serves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/bus.h"
#include "devices/event_loop.h"
#include "devices/virtio/device.h"
#include "devices/virtio/mmio.h"
#include "vmm/irq.h"

namespace thimble {

class VirtioSlots {
 public:
  // None is owned; all outlive this object. `vm` is the VM's descriptor.
  struct Host {
    int vm;
    const GuestMemory& memory;
    Bus& mmio;
    IrqLines& irqs;
    EventLoop& loop;
  };

  explicit VirtioSlots(Host host) : host_(host) {}
  ~VirtioSlots();

  // Puts the device into the next slot. The device is not owned.
  Result<void> add(VirtioDevice& device);

  [[nodiscard]] size_t count() const { return transports_.size(); }

  // What tells a Linux kernel without ACPI where the devices are: "
  // virtio_mmio.device=4K@0xd0000000:5 …" (Documentation/admin-guide/kernel-parameters.txt).
  [[nodiscard]] std::string command_line() const;

 private:
  Result<void> add_notification(MmioTransport& transport, Gpa base, size_t queue);

  Host host_;
  std::vector<std::unique_ptr<MmioTransport>> transports_;
  std::vector<Fd> notifications_;
};

}  // namespace thimble
