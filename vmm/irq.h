// Interrupts into the guest: what the pulse of an IOAPIC pin does. The pin's message goes to the
// kernel's local APICs with KVM_SIGNAL_MSI, so a pulse has arrived when it returns: a machine that
// is paused has no interrupt on its way, and nothing of it has to be saved.
//
// No irqfds and no routing table: they would cost a descriptor and an ioctl for each pin, a grace
// period of the host's kernel whenever the table changes (once per clone at least), and an irqfd
// may deliver later, from a work queue.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>

#include "devices/ioapic.h"
#include "devices/irq_line.h"
#include "devices/result.h"
#include "vmm/trace/tracer.h"

namespace thimble {

class IrqLines final : public MessageRoutes {
 public:
  // `vm` is the VM's descriptor, not owned; its split irqchip has kIoApicPins pins.
  // `tracer` hears of every pulse; not owned.
  explicit IrqLines(int vm, const Tracer* tracer = nullptr) : vm_(vm), tracer_(tracer) {}

  // The line of a pin, made on the first call. Owned by this object.
  Result<IrqLine*> line(unsigned pin);

  void route(unsigned pin, const InterruptMessage& message) override;
  void mask(unsigned pin) override;

 private:
  class Line final : public IrqLine {
   public:
    Line(int vm, unsigned pin, const Tracer* tracer) : vm_(vm), pin_(pin), tracer_(tracer) {}
    void pulse() override;
    void lead_to(std::optional<InterruptMessage> message);

   private:
    int vm_;
    unsigned pin_;
    const Tracer* tracer_;
    std::mutex lock_;
    std::optional<InterruptMessage> message_;  // none: masked, pulses are lost
  };

  int vm_;
  const Tracer* tracer_;
  std::array<std::unique_ptr<Line>, kIoApicPins> lines_;
};

}  // namespace thimble
