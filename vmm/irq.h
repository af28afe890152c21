// Interrupts into the guest: one irqfd per IOAPIC pin in use, and the routing table that tells the
// kernel which message each pin stands for.
//
// A change of the routing table costs a grace period in the kernel, so it is written only when a
// pin's message really changed: masking just stops the pulses here.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "devices/fd.h"
#include "devices/ioapic.h"
#include "devices/irq_line.h"
#include "devices/result.h"

namespace thimble {

class IrqLines final : public MessageRoutes {
 public:
  // `vm` is the VM's descriptor, not owned; its split irqchip has kIoApicPins pins.
  explicit IrqLines(int vm) : vm_(vm) {}

  // The line of a pin, made on the first call. Owned by this object.
  Result<IrqLine*> line(unsigned pin);

  void route(unsigned pin, const InterruptMessage& message) override;
  void mask(unsigned pin) override;

 private:
  class Line final : public IrqLine {
   public:
    explicit Line(Fd event) : event_(std::move(event)) {}
    void pulse() override;
    void set_masked(bool masked) { masked_.store(masked); }

   private:
    Fd event_;
    std::atomic<bool> masked_ = true;
  };

  void write_routes();

  int vm_;
  std::array<std::unique_ptr<Line>, kIoApicPins> lines_;
  std::array<std::optional<InterruptMessage>, kIoApicPins> routes_;
};

}  // namespace thimble
