// The IOAPIC and the reset ports behind their bus: any accesses; only real pins are ever routed, to
// addresses of local APICs.
#include "devices/ioapic.h"

#include "devices/power.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {
namespace {

class Routes final : public MessageRoutes {
 public:
  void route(unsigned pin, const InterruptMessage& message) override {
    FUZZ_CHECK(pin < kIoApicPins);
    FUZZ_CHECK((message.address & ~0xfffffULL) == 0xfee00000);
  }
  void mask(unsigned pin) override { FUZZ_CHECK(pin < kIoApicPins); }
};

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  using fuzz::Input;
  Input input(data, size);
  fuzz::Routes routes;
  IoApic ioapic(routes);
  PowerPort power(PowerPort::Kind::kSleepControl, [](PowerEvent) {});
  Bus bus;
  FUZZ_CHECK(bus.attach(IoApic::kBase, IoApic::kSize, ioapic));
  FUZZ_CHECK(bus.attach(PowerPort::kSleepControlPort, 1, power));
  while (!input.empty()) {
    std::array<uint8_t, 8> bytes{};
    const size_t width = input.below(8) == 0 ? input.below(9) : 4;
    uint64_t address = IoApic::kBase + (input.coin() ? 0x10 : 0);
    if (input.below(16) == 0) address = input.take<uint64_t>();
    if (input.below(16) == 0) address = PowerPort::kSleepControlPort + input.below(3) - 1;
    switch (input.below(8)) {
      case 0:
        bus.read(address, std::span(bytes).first(width));
        break;
      case 1:
        ioapic.end_of_interrupt(input.take<uint8_t>());
        break;
      case 2: {
        IoApicState state = ioapic.save();
        auto loaded = load_state<IoApicState>(save_state(state));
        FUZZ_CHECK(loaded);
        ioapic.restore(*loaded);
        break;
      }
      default: {
        const auto from = input.bytes(width);
        std::copy(from.begin(), from.end(), bytes.begin());
        bus.write(address, std::span(bytes).first(width));
      }
    }
  }
  return 0;
}
