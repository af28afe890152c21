// Frozen with work in every queue: requests that the disk and the entropy device were just told of,
// a stream that was just asked for over vsock, and a byte typed that nobody has read. Every request
// is answered once, whether before the freeze or after, with the right bytes; the guest hears once
// that its streams have ended, and gets new ones. Slots: disk 0, vsock 1, entropy 2.
#include "vsock.h"

using namespace payload;

namespace {

constexpr uint16_t kRequests = 32;
constexpr uint64_t kBuffers = kFree + 0x900000;
constexpr uint32_t kBusyPort = 6000;
constexpr uint32_t kFreshPort = 7000;

uint64_t header_of(uint16_t i) { return kBuffers + i * 0x1000UL; }
uint64_t data_of(uint16_t i) { return header_of(i) + 0x200; }
uint64_t status_of(uint16_t i) { return header_of(i) + 0x800; }

// Request i reads sector i, which the host filled with the number i.
void ask_disk(Ring& ring, uint16_t i) {
  store<uint32_t>(header_of(i), 0);
  store<uint32_t>(header_of(i) + 4, 0);
  store<uint64_t>(header_of(i) + 8, i);
  store<uint8_t>(status_of(i), 0xff);
  const auto first = static_cast<uint16_t>(3 * i);
  ring.set(first, {header_of(i), 16, kNext, static_cast<uint16_t>(first + 1)});
  ring.set(static_cast<uint16_t>(first + 1),
           {data_of(i), 512, kNext | kWrite, static_cast<uint16_t>(first + 2)});
  ring.set(static_cast<uint16_t>(first + 2), {status_of(i), 1, kWrite, 0});
  ring.make_available(first);
}

void check_disk(uint16_t i) {
  check(load<uint8_t>(status_of(i)) == 0, "the disk's status");
  for (uint64_t at = 0; at < 512; at += 4) {
    check(load<uint32_t>(data_of(i) + at) == i, "the disk's bytes");
  }
}

uint16_t used_index(const Ring& ring) { return load<uint16_t>(ring.used + 2); }

}  // namespace

void _start() {
  const Device disk(0);
  const Device rng(2);
  Vsock vsock(1);
  Ring requests = disk.start();
  Ring entropy = rng.start();
  vsock.start();
  vsock.give_event();
  const uint64_t random = kBuffers + 0x100000;
  store<uint64_t>(random, 0);
  print("ready\n");

  for (uint32_t round = 0; round < 3; ++round) {
    for (uint16_t i = 0; i < kRequests; ++i) ask_disk(requests, i);
    entropy.set(0, {random, 8, kWrite, 0});
    entropy.make_available(0);
    disk.notify(0);
    rng.notify(0);
    vsock.post(kBusyPort + round, kRequest);
    print("frozen\n");
    while ((in8(kSerial + 5) & 1) == 0) {
    }
    in8(kSerial);
    check(wait_until([&] { return used_index(requests) == requests.next; }), "the disk answers");
    for (uint16_t i = 0; i < kRequests; ++i) check_disk(i);
    for (int i = 0; i < 200; ++i) in8(kSerial + 7);
    check(used_index(requests) == requests.next, "no answer comes twice");
    check(wait_until([&] { return used_index(entropy) == entropy.next; }), "entropy comes");
    check(load<uint64_t>(random) != 0, "and is not nothing");
    check(wait_until([&] { return vsock.events_came() == round + 1; }),
          "the end of all streams is told");
    check(wait_until([&] { return vsock.all_taken(); }), "the packet is taken");
    vsock.give_event();
    vsock.send(kFreshPort + round, kRequest);
    check(vsock.answer(kFreshPort + round) == kResponse, "a new stream is accepted");
    check(vsock.all_taken(), "no packet is taken twice");
    check(vsock.events_came() == round + 1, "the end of all streams is told once");
  }
  finish();
}
