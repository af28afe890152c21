// See virtio_slots.h.
#include "vmm/virtio_slots.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/text.h"
#include "vmm/kvm.h"
#include "vmm/memory_map.h"

namespace thimble {

static_assert(map::kVirtioPage == MmioTransport::kSize);

namespace {

// The state of one slot as it is saved.
struct SlotState {
  static constexpr size_t kMaxDevice = 1UL << 20;
  uint32_t id = 0;
  MmioState transport;
  std::vector<uint8_t> device;
  void describe(StateVisitor& visitor) {
    visitor.field("id", id);
    visitor.field("transport", transport);
    visitor.field("device", device, kMaxDevice);
  }
};

}  // namespace

VirtioSlots::~VirtioSlots() {
  for (const Fd& event : notifications_) host_.loop.unwatch(event.get());
}

Result<void> VirtioSlots::add(VirtioDevice& device) {
  const size_t slot = transports_.size();
  if (slot >= map::kMaxVirtioDevices) {
    return fail(ErrorKind::kInvalid,
                text("too many devices: a machine has room for %u", map::kMaxVirtioDevices));
  }
  auto line = host_.irqs.line(map::virtio_pin(slot));
  if (!line) return std::unexpected(line.error());
  auto transport = std::make_unique<MmioTransport>(host_.memory, device, **line);
  if (auto done = host_.mmio.attach(map::virtio_base(slot), MmioTransport::kSize, *transport);
      !done) {
    return done;
  }
  for (size_t queue = 0; queue < transport->queue_count(); ++queue) {
    if (auto done = add_notification(*transport, map::virtio_base(slot), queue); !done) return done;
  }
  transports_.push_back(std::move(transport));
  devices_.push_back(&device);
  return {};
}

Result<void> VirtioSlots::add_notification(MmioTransport& transport, Gpa base, size_t queue) {
  Fd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("create an eventfd for a virtqueue");
  kvm_ioeventfd request{};
  request.datamatch = queue;
  request.addr = base + MmioTransport::kQueueNotify;
  request.len = sizeof(uint32_t);
  request.fd = event.get();
  request.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  auto done = kvm_ioctl(host_.vm, KVM_IOEVENTFD, "KVM_IOEVENTFD", &request);
  if (!done) return std::unexpected(done.error());
  const Gpa notified = request.addr;
  host_.loop.watch(event.get(), EPOLLIN,
                   [this, fd = event.get(), &transport, queue, notified](uint32_t) {
                     uint64_t count = 0;
                     [[maybe_unused]] const ssize_t got = ::read(fd, &count, sizeof(count));
                     if (host_.tracer != nullptr) host_.tracer->notify(notified, queue);
                     transport.queue_notified(queue);
                   });
  notifications_.push_back(std::move(event));
  return {};
}

std::vector<uint8_t> VirtioSlots::shape() const {
  std::vector<uint8_t> ids;
  ids.reserve(devices_.size());
  for (const VirtioDevice* device : devices_) ids.push_back(static_cast<uint8_t>(device->id()));
  return ids;
}

void VirtioSlots::drain() {
  for (const auto& transport : transports_) transport->drain();
}

std::vector<uint8_t> VirtioSlots::save(size_t slot) {
  SlotState state;
  state.id = static_cast<uint32_t>(devices_[slot]->id());
  state.transport = transports_[slot]->save();
  state.device = devices_[slot]->saved_state();
  return save_state(state);
}

Result<void> VirtioSlots::restore(size_t slot, std::span<const uint8_t> saved) {
  auto state = load_state<SlotState>(saved);
  if (!state) return std::unexpected(state.error());
  if (state->id != static_cast<uint32_t>(devices_[slot]->id())) {
    return fail("it belongs to a device of another kind");
  }
  if (auto done = devices_[slot]->restore_state(state->device); !done) return done;
  return transports_[slot]->restore(state->transport);
}

void VirtioSlots::kick() {
  for (const auto& transport : transports_) transport->kick();
}

std::string VirtioSlots::command_line() const {
  std::string line;
  for (size_t slot = 0; slot < transports_.size(); ++slot) {
    line += text("virtio_mmio.device=4K@%#lx:%u ", map::virtio_base(slot), map::virtio_pin(slot));
  }
  return line;
}

}  // namespace thimble
