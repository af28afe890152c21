// The virtio-mmio transport, modern version 2 (virtio 1.2, 4.2): one page of registers per device.
//
//   0x000 magic "virt"   0x004 version 2      0x008 device id       0x00c vendor id
//   0x010 device features (selected by 0x014) 0x020 driver features (selected by 0x024)
//   0x030 queue select   0x034 queue max size 0x038 queue size      0x044 queue ready
//   0x050 queue notify   0x060 interrupt status 0x064 interrupt ack 0x070 status
//   0x080.. queue descriptor, driver (available) and device (used) area, low and high words
//   0x0fc config generation                   0x100.. the device's configuration space
//
// Registers are reached from vCPU threads; a write to 0x050 normally never gets here, since the
// machine registers an ioeventfd for each queue and the loop calls queue_notified().
//
// The status register (2.1) walks ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK; bits are only ever
// added, and writing 0 resets. Features are open until FEATURES_OK, queues are set up between
// FEATURES_OK and DRIVER_OK. A driver that moves a queue later, or breaks one, finds NEEDS_RESET.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "devices/bus.h"
#include "devices/irq_line.h"
#include "devices/virtio/device.h"

namespace thimble {

struct MmioState {
  uint32_t status = 0;
  uint32_t interrupt_status = 0;
  uint64_t driver_features = 0;
  uint32_t device_features_select = 0;
  uint32_t driver_features_select = 0;
  uint32_t queue_select = 0;
  uint32_t config_generation = 0;
  std::vector<QueueState> queues;
  void describe(StateVisitor& visitor);
};

class MmioTransport final : public BusDevice, public VirtioTransport {
 public:
  static constexpr uint64_t kSize = 0x1000;        // bytes of the register page
  static constexpr uint64_t kQueueNotify = 0x050;  // where the ioeventfds go

  // None is owned; all must outlive the transport.
  MmioTransport(const GuestMemory& memory, VirtioDevice& device, IrqLine& irq);

  // BusDevice, from vCPU threads. Take the device's lock.
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  // From the event loop: queue `index` was notified. Takes the device's lock.
  void queue_notified(size_t index);
  // Looks at every queue again and repeats an interrupt that was not acknowledged: for a machine
  // that goes on after restore(), where notifications and edges may have been lost. From the event
  // loop. Takes the device's lock.
  void kick();

  [[nodiscard]] size_t queue_count() const { return queues_.size(); }

  // VirtioTransport, with the lock held.
  Queue& queue(size_t index) override { return queues_[index]; }
  void queue_done(size_t index) override;
  void config_changed() override;

  // The machine was paused: the device finishes what the host has under way in guest memory.
  void drain();
  // The state of registers and queues, for a machine that is paused. Drains the device first.
  MmioState save();
  // Refuses state that this device cannot have (queue count, sizes, areas outside memory) and is
  // then as after a reset. Activates the device again when the status says so, so the device's own
  // state must have been restored before.
  Result<void> restore(const MmioState& state);

 private:
  void activate();
  void reset();
  void notify(size_t index);
  void needs_reset();
  void raise(uint32_t interrupt);
  void write_status(uint32_t value);
  void write_driver_features(uint32_t value);
  void write_register(uint64_t offset, uint32_t value);
  void write_queue_register(uint64_t offset, uint32_t value);
  void write_queue_ready(Queue& queue, uint32_t value);
  [[nodiscard]] uint32_t read_register(uint64_t offset);
  Queue* selected_queue();
  [[nodiscard]] uint64_t offered_features() const;
  [[nodiscard]] bool features_acceptable(uint64_t accepted) const;
  [[nodiscard]] bool has_status(uint32_t bit) const { return (state_.status & bit) != 0; }
  Result<void> load(const MmioState& state);

  VirtioDevice& device_;
  IrqLine& irq_;
  MmioState state_;  // its `queues` is filled only by save()
  std::vector<Queue> queues_;
};

}  // namespace thimble
