// irqfds and KVM_SET_GSI_ROUTING; see irq.h.
#include "vmm/irq.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/text.h"
#include "vmm/flexible.h"
#include "vmm/kvm.h"

namespace thimble {

Result<IrqLine*> IrqLines::line(unsigned pin) {
  if (pin >= kIoApicPins) return fail(text("interrupt pin %u: the IOAPIC has 24", pin));
  if (lines_[pin]) return lines_[pin].get();
  Fd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("create an eventfd for an interrupt");
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<uint32_t>(event.get());
  irqfd.gsi = pin;
  auto done = kvm_ioctl(vm_, KVM_IRQFD, "KVM_IRQFD", &irqfd);
  if (!done) return std::unexpected(done.error());
  lines_[pin] = std::make_unique<Line>(std::move(event));
  return lines_[pin].get();
}

void IrqLines::Line::pulse() {
  if (masked_.load()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one));
}

void IrqLines::route(unsigned pin, const InterruptMessage& message) {
  if (!lines_[pin]) return;  // a pin without a device: nothing will ever pulse it
  if (routes_[pin] != message) {
    routes_[pin] = message;
    write_routes();
  }
  lines_[pin]->set_masked(false);
}

void IrqLines::mask(unsigned pin) {
  if (lines_[pin]) lines_[pin]->set_masked(true);
}

void IrqLines::write_routes() {
  Flexible<kvm_irq_routing, kvm_irq_routing_entry> table(kIoApicPins);
  for (unsigned pin = 0; pin < kIoApicPins; ++pin) {
    if (!routes_[pin]) continue;
    kvm_irq_routing_entry& entry = table.entries()[table.header()->nr++];
    entry.gsi = pin;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = static_cast<uint32_t>(routes_[pin]->address);
    entry.u.msi.address_hi = static_cast<uint32_t>(routes_[pin]->address >> 32);
    entry.u.msi.data = routes_[pin]->data;
  }
  // The kernel refuses only tables that are malformed; a message that leads nowhere is accepted and
  // lost, which is the guest's own affair.
  [[maybe_unused]] auto done =
      kvm_ioctl(vm_, KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", table.header());
}

}  // namespace thimble
