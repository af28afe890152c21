// Registers of the virtio-mmio transport; mmio.h has their map.
#include "devices/virtio/mmio.h"

#include <algorithm>

#include "devices/text.h"

namespace thimble {

namespace {

enum Register : uint64_t {
  kMagic = 0x000,
  kVersion = 0x004,
  kDeviceId = 0x008,
  kVendorId = 0x00c,
  kDeviceFeatures = 0x010,
  kDeviceFeaturesSelect = 0x014,
  kDriverFeatures = 0x020,
  kDriverFeaturesSelect = 0x024,
  kQueueSelect = 0x030,
  kQueueMaxSize = 0x034,
  kQueueSize = 0x038,
  kQueueReady = 0x044,
  kQueueNotify = 0x050,
  kInterruptStatus = 0x060,
  kInterruptAck = 0x064,
  kStatus = 0x070,
  kDescriptorsLow = 0x080,
  kDescriptorsHigh = 0x084,
  kAvailableLow = 0x090,
  kAvailableHigh = 0x094,
  kUsedLow = 0x0a0,
  kUsedHigh = 0x0a4,
  kSharedMemoryLengthLow = 0x0b0,
  kSharedMemoryBaseHigh = 0x0bc,
  kConfigGeneration = 0x0fc,
  kConfig = 0x100,
};

constexpr uint32_t kMagicValue = 0x74726976;   // "virt"
constexpr uint32_t kVendorValue = 0x424d4854;  // "THMB"

// Device status (virtio 1.2, 2.1).
constexpr uint32_t kAcknowledge = 1;
constexpr uint32_t kDriver = 2;
constexpr uint32_t kDriverOk = 4;
constexpr uint32_t kFeaturesOk = 8;
constexpr uint32_t kNeedsReset = 64;
constexpr uint32_t kFailed = 128;
constexpr uint32_t kDriverBits = kAcknowledge | kDriver | kFeaturesOk | kDriverOk | kFailed;

// Interrupt status.
constexpr uint32_t kUsedBuffer = 1;
constexpr uint32_t kConfigChange = 2;

constexpr size_t kMaxQueues = 64;  // in saved state

uint32_t half(uint64_t value, uint32_t select) {
  if (select > 1) return 0;
  return static_cast<uint32_t>(value >> (32 * select));
}

void set_half(uint64_t& value, uint32_t select, uint32_t half) {
  if (select > 1) return;
  const uint64_t mask = 0xffffffffULL << (32 * select);
  value = (value & ~mask) | (static_cast<uint64_t>(half) << (32 * select));
}

}  // namespace

void MmioState::describe(StateVisitor& visitor) {
  visitor.field("status", status);
  visitor.field("interrupt_status", interrupt_status);
  visitor.field("driver_features", driver_features);
  visitor.field("device_features_select", device_features_select);
  visitor.field("driver_features_select", driver_features_select);
  visitor.field("queue_select", queue_select);
  visitor.field("config_generation", config_generation);
  visitor.list("queues", queues, kMaxQueues);
}

MmioTransport::MmioTransport(const GuestMemory& memory, VirtioDevice& device, IrqLine& irq)
    : device_(device), irq_(irq) {
  for (const uint16_t size : device.queue_sizes()) queues_.emplace_back(memory, size);
}

// ---- register access

// Registers are 32 bits wide and reached as such (4.2.2.2); only the configuration space takes any
// width.
void MmioTransport::read(uint64_t offset, std::span<uint8_t> data) {
  const std::scoped_lock guard(device_.lock());
  std::ranges::fill(data, uint8_t{0});
  if (offset >= kConfig) {
    device_.read_config(static_cast<uint32_t>(offset - kConfig), data);
  } else if (data.size() == sizeof(uint32_t) && offset % sizeof(uint32_t) == 0) {
    const uint32_t value = read_register(offset);
    std::memcpy(data.data(), &value, sizeof(value));
  }
}

void MmioTransport::write(uint64_t offset, std::span<const uint8_t> data) {
  const std::scoped_lock guard(device_.lock());
  if (offset >= kConfig) {
    device_.write_config(static_cast<uint32_t>(offset - kConfig), data);
  } else if (data.size() == sizeof(uint32_t) && offset % sizeof(uint32_t) == 0) {
    uint32_t value = 0;
    std::memcpy(&value, data.data(), sizeof(value));
    write_register(offset, value);
  }
}

uint32_t MmioTransport::read_register(uint64_t offset) {
  Queue* queue = selected_queue();
  switch (offset) {
    case kMagic:
      return kMagicValue;
    case kVersion:
      return 2;
    case kDeviceId:
      return static_cast<uint32_t>(device_.id());
    case kVendorId:
      return kVendorValue;
    case kDeviceFeatures:
      return half(offered_features(), state_.device_features_select);
    case kQueueMaxSize:
      return queue != nullptr ? queue->max_size() : 0;
    case kQueueReady:
      return queue != nullptr ? queue->state().ready : 0;
    case kInterruptStatus:
      return state_.interrupt_status;
    case kStatus:
      return state_.status;
    case kConfigGeneration:
      return state_.config_generation;
    default:
      // No shared memory regions: their length and base read as all ones (4.2.2.1).
      return offset >= kSharedMemoryLengthLow && offset <= kSharedMemoryBaseHigh ? ~0U : 0;
  }
}

void MmioTransport::write_register(uint64_t offset, uint32_t value) {
  switch (offset) {
    case kDeviceFeaturesSelect:
      state_.device_features_select = value;
      break;
    case kDriverFeaturesSelect:
      state_.driver_features_select = value;
      break;
    case kDriverFeatures:
      write_driver_features(value);
      break;
    case kQueueSelect:
      state_.queue_select = value;
      break;
    case kQueueNotify:
      notify(value);
      break;
    case kInterruptAck:
      state_.interrupt_status &= ~value;
      break;
    case kStatus:
      write_status(value);
      break;
    default:
      write_queue_register(offset, value);
  }
}

// ---- status and features

void MmioTransport::write_status(uint32_t value) {
  if (value == 0) return reset();
  const uint32_t before = state_.status;
  uint32_t status = before | (value & kDriverBits);
  const bool may_agree = (status & kAcknowledge) != 0 && (status & kDriver) != 0 &&
                         features_acceptable(state_.driver_features);
  if ((before & kFeaturesOk) == 0 && !may_agree) status &= ~kFeaturesOk;
  if ((status & kFeaturesOk) == 0) status &= ~kDriverOk;
  state_.status = status;
  if ((status & ~before & kDriverOk) != 0) activate();
}

void MmioTransport::write_driver_features(uint32_t value) {
  if (has_status(kFeaturesOk)) return;
  set_half(state_.driver_features, state_.driver_features_select, value);
}

uint64_t MmioTransport::offered_features() const {
  return device_.features() | kFeatureIndirectDescriptors | kFeatureEventIdx | kFeatureVersion1;
}

bool MmioTransport::features_acceptable(uint64_t accepted) const {
  return (accepted & ~offered_features()) == 0 && (accepted & kFeatureVersion1) != 0;
}

void MmioTransport::activate() {
  const bool event_idx = (state_.driver_features & kFeatureEventIdx) != 0;
  for (Queue& queue : queues_) queue.state().event_idx = event_idx ? 1 : 0;
  device_.activate(*this, state_.driver_features);
  if (std::ranges::any_of(queues_, &Queue::broken)) needs_reset();
}

void MmioTransport::reset() {
  if (has_status(kDriverOk)) device_.reset();
  for (Queue& queue : queues_) queue.reset();
  const uint32_t generation = state_.config_generation;
  state_ = MmioState{};
  state_.config_generation = generation;
}

// ---- queues

Queue* MmioTransport::selected_queue() {
  return state_.queue_select < queues_.size() ? &queues_[state_.queue_select] : nullptr;
}

void MmioTransport::write_queue_register(uint64_t offset, uint32_t value) {
  Queue* queue = selected_queue();
  if (queue == nullptr || !has_status(kFeaturesOk)) return;
  if (offset == kQueueReady) return write_queue_ready(*queue, value);
  QueueState& state = queue->state();
  if (state.ready != 0 || has_status(kDriverOk)) return;
  switch (offset) {
    case kQueueSize:
      state.size = value <= queue->max_size() ? static_cast<uint16_t>(value) : 0;
      break;
    case kDescriptorsLow:
    case kDescriptorsHigh:
      return set_half(state.descriptors, offset == kDescriptorsHigh ? 1 : 0, value);
    case kAvailableLow:
    case kAvailableHigh:
      return set_half(state.available, offset == kAvailableHigh ? 1 : 0, value);
    case kUsedLow:
    case kUsedHigh:
      return set_half(state.used, offset == kUsedHigh ? 1 : 0, value);
    default:
      break;
  }
}

// A queue that ran is only stopped, not forgotten: chains of it may be in the device's hands, and
// their used entries must not land in a ring that the driver sets up meanwhile elsewhere.
void MmioTransport::write_queue_ready(Queue& queue, uint32_t value) {
  if (has_status(kDriverOk)) {
    if (value == 0) queue.state().ready = 0;
    if (value != 0 && queue.state().ready == 0) queue.mark_broken();
    if (queue.broken()) needs_reset();
  } else if (value == 0) {
    queue.reset();
  } else if (queue.state().ready == 0 && !queue.broken()) {
    queue.enable();
  }
}

void MmioTransport::queue_notified(size_t index) {
  const std::scoped_lock guard(device_.lock());
  notify(index);
}

void MmioTransport::notify(size_t index) {
  if (!has_status(kDriverOk) || has_status(kNeedsReset)) return;
  if (index >= queues_.size() || !queues_[index].usable()) return;
  device_.notify(index);
  if (queues_[index].broken()) needs_reset();
}

void MmioTransport::kick() {
  const std::scoped_lock guard(device_.lock());
  if (state_.interrupt_status != 0) irq_.pulse();
  for (size_t index = 0; index < queues_.size(); ++index) notify(index);
}

// ---- interrupts

// The line is edge-triggered, so every cause is an edge, also while an earlier one is pending: the
// handler may have read the status before this bit came and would never look again.
void MmioTransport::raise(uint32_t interrupt) {
  state_.interrupt_status |= interrupt;
  irq_.pulse();
}

void MmioTransport::queue_done(size_t index) {
  if (queues_[index].broken()) return needs_reset();
  if (queues_[index].should_interrupt()) raise(kUsedBuffer);
}

void MmioTransport::config_changed() {
  ++state_.config_generation;
  if (has_status(kDriverOk)) raise(kConfigChange);
}

void MmioTransport::needs_reset() {
  if (has_status(kNeedsReset)) return;
  state_.status |= kNeedsReset;
  if (has_status(kDriverOk)) raise(kConfigChange);
}

// ---- state

void MmioTransport::drain() {
  const std::scoped_lock guard(device_.lock());
  if (has_status(kDriverOk)) device_.drain();
}

MmioState MmioTransport::save() {
  const std::scoped_lock guard(device_.lock());
  if (has_status(kDriverOk)) device_.drain();
  MmioState state = state_;
  for (Queue& queue : queues_) state.queues.push_back(queue.state());
  return state;
}

Result<void> MmioTransport::restore(const MmioState& state) {
  const std::scoped_lock guard(device_.lock());
  reset();
  auto loaded = load(state);
  if (!loaded) reset();
  return loaded;
}

Result<void> MmioTransport::load(const MmioState& state) {
  const bool agreed = (state.status & kFeaturesOk) != 0;
  if ((state.status & ~(kDriverBits | kNeedsReset)) != 0 ||
      (agreed && !features_acceptable(state.driver_features)) ||
      (!agreed && (state.status & kDriverOk) != 0)) {
    return fail(text("virtio device %u: saved status %#x and features %#lx do not fit this device",
                     static_cast<unsigned>(device_.id()), state.status, state.driver_features));
  }
  if (state.queues.size() != queues_.size()) {
    return fail(text("virtio device %u: saved with %zu queues, has %zu",
                     static_cast<unsigned>(device_.id()), state.queues.size(), queues_.size()));
  }
  for (size_t index = 0; index < queues_.size(); ++index) {
    if (!queues_[index].restore(state.queues[index])) {
      return fail(text("virtio device %u: saved queue %zu is not valid",
                       static_cast<unsigned>(device_.id()), index));
    }
  }
  state_ = state;
  state_.queues.clear();
  if (has_status(kDriverOk)) device_.activate(*this, state_.driver_features);
  return {};
}

}  // namespace thimble
