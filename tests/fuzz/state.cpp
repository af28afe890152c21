// Saved device states of any bytes: a device refuses them or works on, and never more than that. A
// snapshot file's own format has a fuzzer of its own.
#include <sys/mman.h>

#include "devices/ioapic.h"
#include "devices/serial.h"
#include "devices/virtio/rng.h"
#include "devices/vsock/vsock.h"
#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/devices/fake_guest.h"

namespace thimble::fuzz {
namespace {

class Routes final : public MessageRoutes {
 public:
  void route(unsigned pin, const InterruptMessage&) override { FUZZ_CHECK(pin < kIoApicPins); }
  void mask(unsigned pin) override { FUZZ_CHECK(pin < kIoApicPins); }
};

// The input's bytes are the state; or a real state of which the input changes bytes.
template <class State>
Result<State> make_state(State honest, Input& input) {
  auto bytes = save_state(honest);
  if (input.coin()) {
    const auto raw = input.all();
    return load_state<State>(raw);
  }
  for (uint32_t changes = input.below(16); changes > 0 && !input.empty(); --changes) {
    bytes[input.take<uint32_t>() % bytes.size()] = input.take<uint8_t>();
  }
  return load_state<State>(bytes);
}

// The device's registers after a hostile restore: notified, used, saved, reset.
void live_on(VirtioGuest& guest, fake::Loop& loop, Input& input) {
  guest.transport.kick();
  loop.turn();
  for (int i = 0; i < 8; ++i) guest.act(input);
  loop.turn_until_idle(50);
  guest.start(0);
  FUZZ_CHECK((guest.get(0x070) & VirtioGuest::kDriverOk) != 0);
  guest.set(0x070, 0);
}

void restore_virtio(VirtioDevice& device, fake::Loop& loop, Input& input) {
  const Memory memory;
  VirtioGuest guest(memory, device);
  if (input.coin()) guest.start(~0ULL);
  if (auto state = make_state(guest.transport.save(), input)) {
    (void)guest.transport.restore(*state);
  }
  live_on(guest, loop, input);
}

void restore_serial(fake::Loop& loop, Input& input) {
  Irq irq;
  Serial serial(loop, irq, nullptr);
  serial.type("typed");
  auto state = make_state(serial.save(), input);
  if (state && serial.restore(*state)) FUZZ_CHECK(serial.save().valid());
  std::array<uint8_t, 1> byte{};
  for (uint64_t offset = 0; offset < 8; ++offset) serial.read(offset, byte);
  loop.turn_until_idle(10);
}

void restore_ioapic(Input& input) {
  Routes routes;
  IoApic ioapic(routes);
  if (auto state = make_state(ioapic.save(), input)) ioapic.restore(*state);
  std::array<uint8_t, 4> word{};
  ioapic.read(0x10, word);
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  using namespace thimble::fuzz;
  Input input(data, size);
  fake::Loop loop;
  switch (input.below(4)) {
    case 0: {
      Rng rng(loop);
      restore_virtio(rng, loop, input);
      break;
    }
    case 1: {
      VsockDevice vsock(3, loop);
      if (auto state = make_state(vsock.save(), input)) (void)vsock.restore(*state);
      restore_virtio(vsock, loop, input);
      break;
    }
    case 2:
      restore_serial(loop, input);
      break;
    default:
      restore_ioapic(input);
  }
  return 0;
}
