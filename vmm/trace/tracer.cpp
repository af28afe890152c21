// See tracer.h.
#include "vmm/trace/tracer.h"

#include <algorithm>
#include <cstring>

namespace thimble {

namespace {

uint64_t number(const uint8_t* bytes, size_t size) {
  uint64_t value = 0;
  std::memcpy(&value, bytes, std::min(size, sizeof(value)));
  return value;
}

}  // namespace

void Tracer::name_range(Space space, uint64_t base, uint64_t size, std::string device,
                        RegisterName register_name) {
  ranges_.push_back({space, base, size, std::move(device), register_name});
}

void Tracer::name_pin(unsigned pin, std::string device) {
  if (pin >= pins_.size()) pins_.resize(pin + 1);
  pins_[pin] = std::move(device);
}

TraceEvent Tracer::start(TraceEvent::Kind kind, int vcpu) const {
  const auto since = std::chrono::steady_clock::now() - origin_;
  TraceEvent event;
  event.time_ns =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
  event.kind = kind;
  event.vcpu = vcpu;
  return event;
}

void Tracer::name(TraceEvent& event, Space space, bool write) const {
  for (const Range& range : ranges_) {
    if (range.space != space || event.address < range.base) continue;
    const uint64_t offset = event.address - range.base;
    if (offset >= range.size) continue;
    event.device = range.device;
    if (range.register_name != nullptr) event.reg = range.register_name(offset, write);
    return;
  }
}

void Tracer::exit(unsigned vcpu, const kvm_run& area) const {
  TraceEvent event = start(TraceEvent::Kind::kOtherExit, static_cast<int>(vcpu));
  if ((area.kvm_valid_regs & KVM_SYNC_X86_REGS) != 0) event.rip = area.s.regs.regs.rip;
  switch (area.exit_reason) {
    case KVM_EXIT_IO:
      return port(event, area);
    case KVM_EXIT_MMIO:
      return mmio(event, area);
    case KVM_EXIT_IOAPIC_EOI:
      event.kind = TraceEvent::Kind::kEoi;
      event.value = area.eoi.vector;
      break;
    case KVM_EXIT_INTR:
      event.kind = TraceEvent::Kind::kSignalled;
      break;
    default:
      event.value = area.exit_reason;
      break;
  }
  hook_(event);
}

void Tracer::port(TraceEvent event, const kvm_run& area) const {
  const bool write = area.io.direction == KVM_EXIT_IO_OUT;
  event.kind = write ? TraceEvent::Kind::kPortOut : TraceEvent::Kind::kPortIn;
  event.address = area.io.port;
  event.size = area.io.size;
  name(event, Space::kPorts, write);
  const auto* data = reinterpret_cast<const uint8_t*>(&area) + area.io.data_offset;
  for (uint32_t i = 0; i < area.io.count; ++i) {
    event.value = number(data + size_t{i} * event.size, event.size);
    hook_(event);
  }
}

void Tracer::mmio(TraceEvent event, const kvm_run& area) const {
  const bool write = area.mmio.is_write != 0;
  event.kind = write ? TraceEvent::Kind::kMmioWrite : TraceEvent::Kind::kMmioRead;
  event.address = area.mmio.phys_addr;
  event.size = area.mmio.len;
  event.value = number(area.mmio.data, area.mmio.len);
  name(event, Space::kMmio, write);
  hook_(event);
}

void Tracer::signalled(unsigned vcpu) const {
  hook_(start(TraceEvent::Kind::kSignalled, static_cast<int>(vcpu)));
}

void Tracer::notify(uint64_t address, uint64_t queue) const {
  TraceEvent event = start(TraceEvent::Kind::kNotify, TraceEvent::kNoVcpu);
  event.address = address;
  event.size = 4;
  event.value = queue;
  name(event, Space::kMmio, true);
  hook_(event);
}

void Tracer::interrupt(unsigned pin, bool masked) const {
  TraceEvent event =
      start(masked ? TraceEvent::Kind::kMaskedInterrupt : TraceEvent::Kind::kInterrupt,
            TraceEvent::kNoVcpu);
  event.value = pin;
  if (pin < pins_.size()) event.device = pins_[pin];
  hook_(event);
}

}  // namespace thimble
