// KVM_SIGNAL_MSI; see irq.h.
#include "vmm/irq.h"

#include "devices/text.h"
#include "vmm/kvm.h"

namespace thimble {

Result<IrqLine*> IrqLines::line(unsigned pin) {
  if (pin >= kIoApicPins) return fail(text("interrupt pin %u: the IOAPIC has 24", pin));
  if (!lines_[pin]) lines_[pin] = std::make_unique<Line>(vm_, pin, tracer_);
  return lines_[pin].get();
}

// A pin without a device is not remembered: nothing will ever pulse it.
void IrqLines::route(unsigned pin, const InterruptMessage& message) {
  if (lines_[pin]) lines_[pin]->lead_to(message);
}

void IrqLines::mask(unsigned pin) {
  if (lines_[pin]) lines_[pin]->lead_to(std::nullopt);
}

void IrqLines::Line::lead_to(std::optional<InterruptMessage> message) {
  const std::scoped_lock guard(lock_);
  message_ = message;
}

void IrqLines::Line::pulse() {
  std::optional<InterruptMessage> message;
  {
    const std::scoped_lock guard(lock_);
    message = message_;
  }
  if (tracer_ != nullptr) tracer_->interrupt(pin_, !message);
  if (!message) return;
  kvm_msi msi{};
  msi.address_lo = static_cast<uint32_t>(message->address);
  msi.address_hi = static_cast<uint32_t>(message->address >> 32);
  msi.data = message->data;
  // A message that leads nowhere is lost, which is the guest's own affair.
  [[maybe_unused]] auto done = kvm_ioctl(vm_, KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &msi);
}

}  // namespace thimble
