// virtio-rng with hostile chains: only writable guest memory is filled, in bounded rounds.
#include "devices/virtio/rng.h"

#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/devices/fake_guest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  Input input(data, size);
  const Memory memory;
  thimble::fake::Loop loop;
  thimble::Rng device(loop);
  VirtioGuest guest(memory, device);
  if (input.below(8) != 0) guest.start(~0ULL);
  while (!input.empty()) {
    switch (input.below(4)) {
      case 0:
        guest.act(input);
        break;
      case 1:
        loop.turn();
        break;
      default:
        guest.add_chain(guest.rings[0], input);
        if (input.coin()) guest.transport.queue_notified(0);
    }
  }
  loop.turn_until_idle(100);
  guest.start(0);
  FUZZ_CHECK(guest.get(0x070) == (VirtioGuest::kAgreed | VirtioGuest::kDriverOk));
  guest.set(0x070, 0);
  return 0;
}
