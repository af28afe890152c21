// virtio-rng (virtio 1.2, 5.4): random bytes from the host's getrandom. One queue of buffers to
// fill; no configuration, no features.
#pragma once

#include "devices/event_loop.h"
#include "devices/virtio/device.h"

namespace thimble {

// Nothing outlives a request. The struct is there so that every device has one.
struct RngState {
  void describe(StateVisitor& /*visitor*/) {}
};

class Rng final : public VirtioDevice {
 public:
  static constexpr size_t kMaxFill = 64 << 10;  // bytes per chain; a longer one is filled in part

  // `loop` must outlive the device and not run any more when that goes.
  explicit Rng(EventLoop& loop) : loop_(loop) {}

  [[nodiscard]] VirtioId id() const override { return VirtioId::kEntropy; }
  [[nodiscard]] uint64_t features() const override { return 0; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  void read_config(uint32_t /*offset*/, std::span<uint8_t> /*data*/) override {}
  void activate(VirtioTransport& transport, uint64_t features) override;
  void notify(size_t index) override;
  void reset() override;

  RngState save() { return {}; }
  Result<void> restore(const RngState& /*state*/) { return {}; }

 private:
  void serve();
  void serve_again_soon();

  EventLoop& loop_;
  VirtioTransport* transport_ = nullptr;  // while the driver runs the device
  bool serve_posted_ = false;
};

}  // namespace thimble
