// The virtio devices of one machine in their places: each gets a page of the MMIO hole, an IOAPIC
// pin, and one ioeventfd per queue that the event loop serves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/bus.h"
#include "devices/event_loop.h"
#include "devices/fd.h"
#include "devices/virtio/device.h"
#include "devices/virtio/mmio.h"
#include "vmm/irq.h"
#include "vmm/trace/tracer.h"

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
    const Tracer* tracer = nullptr;  // hears of every notification
  };

  explicit VirtioSlots(Host host) : host_(host) {}
  ~VirtioSlots();

  // Puts the device into the next slot. The device is not owned.
  Result<void> add(VirtioDevice& device);

  [[nodiscard]] size_t count() const { return transports_.size(); }

  // Snapshots. The device ids of the slots in order, and the state of one slot: transport and
  // device. The machine is paused; drain() on the loop's thread came before.
  [[nodiscard]] std::vector<uint8_t> shape() const;
  void drain();
  std::vector<uint8_t> save(size_t slot);
  Result<void> restore(size_t slot, std::span<const uint8_t> saved);
  // After restore() or a pause: visits every queue and repeats pending interrupts. On the loop's
  // thread.
  void kick();

  // What tells a Linux kernel without ACPI where the devices are, each word with a space behind it:
  // "virtio_mmio.device=4K@0xd0000000:5 " (Documentation/admin-guide/kernel-parameters.txt).
  [[nodiscard]] std::string command_line() const;

 private:
  Result<void> add_notification(MmioTransport& transport, Gpa base, size_t queue);

  Host host_;
  std::vector<VirtioDevice*> devices_;
  std::vector<std::unique_ptr<MmioTransport>> transports_;
  std::vector<Fd> notifications_;
};

}  // namespace thimble
