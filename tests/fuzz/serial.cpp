// The serial port: any accesses of any width, typing and flushing in between; the state stays valid
// and bounded, and comes back from its description.
#include "devices/serial.h"

#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/devices/fake_guest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  using namespace thimble;
  Input input(data, size);
  fake::Loop loop;
  fuzz::Irq irq;
  Serial serial(loop, irq, [](std::span<const uint8_t> out) {
    FUZZ_CHECK(out.size() <= SerialState::kMaxToSend);
  });
  while (!input.empty()) {
    std::array<uint8_t, 8> bytes{};
    const uint64_t offset = input.below(10) == 9 ? input.take<uint64_t>() : input.below(8);
    const size_t width = input.below(8) == 0 ? input.below(9) : 1;
    switch (input.below(8)) {
      case 0:
        serial.read(offset, std::span(bytes).first(width));
        break;
      case 1: {
        const std::string typed(input.take<uint16_t>(), 't');
        serial.type(typed);
        break;
      }
      case 2:
        loop.turn();
        break;
      case 3:
        serial.flush();
        break;
      case 4: {
        SerialState state = serial.save();
        FUZZ_CHECK(state.valid());
        auto loaded = load_state<SerialState>(save_state(state));
        FUZZ_CHECK(loaded);
        FUZZ_CHECK(serial.restore(*loaded));
        break;
      }
      case 5:  // a flood
        for (uint32_t i = input.take<uint16_t>(); i > 0; --i) {
          serial.write(0, std::span(bytes).first(1));
        }
        break;
      default: {
        const auto from = input.bytes(width);
        std::copy(from.begin(), from.end(), bytes.begin());
        serial.write(offset, std::span(bytes).first(width));
      }
    }
  }
  FUZZ_CHECK(serial.save().valid());
  return 0;
}
