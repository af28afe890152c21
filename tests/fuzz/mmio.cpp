// The virtio-mmio registers in any order and width: a device is activated only with features that
// were agreed, its queues lie in memory, and a reset always brings it back.
#include "devices/virtio/mmio.h"

#include "tests/fuzz/virtio_guest.h"

namespace thimble::fuzz {
namespace {

// Gives every chain back at once; knows whether it may be called.
class Echo final : public VirtioDevice {
 public:
  static constexpr uint64_t kOwnFeatures = 0x25;
  [[nodiscard]] VirtioId id() const override { return VirtioId::kEntropy; }
  [[nodiscard]] uint64_t features() const override { return kOwnFeatures; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override { return kSizes; }
  void read_config(uint32_t offset, std::span<uint8_t> data) override {
    copy_config(config_, offset, data);
  }
  void write_config(uint32_t offset, std::span<const uint8_t> data) override {
    for (size_t i = 0; i < data.size() && offset + i < config_.size(); ++i) {
      config_[offset + i] = data[i];
    }
    if (transport_ != nullptr && offset == 0) transport_->config_changed();
  }
  void activate(VirtioTransport& transport, uint64_t features) override {
    FUZZ_CHECK(transport_ == nullptr);
    FUZZ_CHECK((features & kFeatureVersion1) != 0);
    FUZZ_CHECK((features & ~(kOwnFeatures | kFeatureVersion1 | kFeatureEventIdx |
                             kFeatureIndirectDescriptors)) == 0);
    transport_ = &transport;
  }
  void notify(size_t index) override {
    FUZZ_CHECK(transport_ != nullptr);
    FUZZ_CHECK(index < kSizes.size());
    Queue& queue = transport_->queue(index);
    FUZZ_CHECK(queue.usable());
    for (int left = 64; left > 0; --left) {
      const auto chain = queue.next_chain();
      if (!chain) break;
      queue.put_used(chain->head, static_cast<uint32_t>(chain->writable_size()));
    }
    transport_->queue_done(index);
  }
  void reset() override {
    FUZZ_CHECK(transport_ != nullptr);
    transport_ = nullptr;
  }
  [[nodiscard]] bool active() const { return transport_ != nullptr; }

 private:
  static constexpr std::array<uint16_t, 3> kSizes = {16, 4, 1};
  VirtioTransport* transport_ = nullptr;
  std::array<uint8_t, 12> config_{};
};

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  Input input(data, size);
  const Memory memory;
  Echo device;
  VirtioGuest guest(memory, device);
  if (input.coin()) guest.start(~0ULL);
  while (!input.empty()) {
    guest.act(input);
    FUZZ_CHECK(device.active() == ((guest.get(0x070) & VirtioGuest::kDriverOk) != 0));
  }
  guest.start(0);
  FUZZ_CHECK(guest.get(0x070) == (VirtioGuest::kAgreed | VirtioGuest::kDriverOk));
  return 0;
}
