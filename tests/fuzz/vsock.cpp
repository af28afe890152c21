// The vsock device between a guest that sends any packet and host programs that connect, write,
// read, shut down and leave at any moment.
#include "devices/vsock/vsock.h"

#include <sys/socket.h>

#include <deque>

#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/devices/fake_guest.h"

namespace thimble::fuzz {
namespace {

constexpr uint64_t kCid = 3;
constexpr uint32_t kListened = 80;
constexpr size_t kMaxConnections = 6;

// The host's programs, each with its end of a stream.
class HostPrograms {
 public:
  // Streams to ports without a listener are opened at once, or by somebody who is asked.
  HostPrograms(VsockDevice& device, bool ask) : device_(device) {
    device.listen(kListened, [this] { return decline_ ? Fd() : open(); });
    if (ask) {
      device.set_opener([this](uint32_t port) {
        asked_.push_back(port);
        FUZZ_CHECK(asked_.size() <= VsockDevice::kMaxWaiting);
      });
    }
    device.set_connector([this](uint32_t port) -> Result<Fd> {
      if (port % 2 == 0) return fail("nobody");
      return open();
    });
  }

  void act(Input& input) {
    Fd* end = ends_.empty() ? nullptr : &ends_[input.take<uint8_t>() % ends_.size()];
    switch (input.below(8)) {
      case 5:
        if (asked_.empty()) return;
        device_.opened(asked_.front(), input.coin() ? Fd() : open());
        return asked_.pop_front();
      case 0:
        return device_.connect(1 + input.below(4), open());
      case 1:
        decline_ = !decline_;
        return;
      case 2:
        if (end != nullptr) end->reset();
        return;
      case 3:
        if (end != nullptr && *end) ::shutdown(end->get(), static_cast<int>(input.below(3)));
        return;
      case 4: {
        if (end == nullptr || !*end) return;
        static const std::vector<uint8_t> kBytes(70000, 'h');
        const size_t size = input.take<uint8_t>() * 256UL;
        (void)::send(end->get(), kBytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
      }
      default: {
        if (end == nullptr || !*end) return;
        std::array<uint8_t, 4096> bytes{};
        (void)::recv(end->get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      }
    }
  }

 private:
  Fd open() {
    std::array<int, 2> pair{-1, -1};
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
    if (ends_.size() >= 2 * kMaxConnections) ends_.pop_front();
    ends_.emplace_back(pair[1]);
    return Fd(pair[0]);
  }

  VsockDevice& device_;
  std::deque<Fd> ends_;
  std::deque<uint32_t> asked_;
  bool decline_ = false;
};

// A packet that often belongs to a stream: a few ports, honest or huge counts.
void send_packet(VirtioGuest& guest, Input& input) {
  static constexpr std::array<uint32_t, 6> kHostPorts = {kListened,
                                                         81,
                                                         82,
                                                         VsockDevice::kFirstHostPort,
                                                         VsockDevice::kFirstHostPort + 1,
                                                         VsockDevice::kFirstHostPort + 2};
  VsockHeader header{.src_cid = input.below(16) == 0 ? input.take<uint64_t>() : kCid,
                     .dst_cid = input.below(16) == 0 ? input.take<uint64_t>() : kHostCid,
                     .src_port = 1 + input.below(4),
                     .dst_port = kHostPorts[input.below(kHostPorts.size())],
                     .type = VsockType{static_cast<uint16_t>(1 + (input.below(16) == 0))},
                     .op = VsockOp{static_cast<uint16_t>(input.below(9))},
                     .flags = input.below(5)};
  header.buf_alloc = input.below(4) == 0 ? input.take<uint32_t>() : 0x10000;
  header.fwd_cnt = input.below(4) == 0 ? input.take<uint32_t>() : 0;
  const uint32_t payload = input.below(4) == 0 ? Memory::length(input) : input.take<uint8_t>();
  header.len = input.below(8) == 0 ? input.take<uint32_t>() : payload;
  const Gpa at = 0xc000 + (input.below(64) * 64);
  (void)guest.memory.view.store(at, header);
  std::vector<Descriptor> parts{{.address = at, .length = sizeof(header)}};
  if (payload != 0) parts.push_back({.address = Memory::address(input), .length = payload});
  guest.rings[1].add(input.take<uint8_t>(), parts);
  if (input.coin()) guest.transport.queue_notified(1);
}

void give_buffers(VirtioGuest& guest, Input& input) {
  const uint32_t count = 1 + input.below(8);
  const auto length = static_cast<uint32_t>(input.below(4) == 0 ? input.take<uint8_t>() : 4096);
  for (uint32_t i = 0; i < count; ++i) {
    const std::array<Descriptor, 1> part{Descriptor{0x8000 + i * 0x200ULL, length, kWrite, 0}};
    guest.rings[0].add(static_cast<uint16_t>(input.take<uint8_t>() + i), part);
  }
  guest.transport.queue_notified(0);
}

void restore(VsockDevice& device) {
  VsockState state = device.save();
  const auto bytes = save_state(state);
  auto loaded = load_state<VsockState>(bytes);
  FUZZ_CHECK(loaded);
  FUZZ_CHECK(device.restore(*loaded));
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  using thimble::VsockDevice;
  Input input(data, size);
  const Memory memory;
  thimble::fake::Loop loop;
  {
    const auto limit = std::chrono::nanoseconds(input.coin() ? 0 : 60'000'000'000);
    VsockDevice device(kCid, loop,
                       {.max_connections = kMaxConnections,
                        .window = 4096,
                        .connect_limit = limit,
                        .close_limit = limit});
    HostPrograms host(device, input.below(4) == 0);
    VirtioGuest guest(memory, device);
    if (input.below(8) != 0) guest.start(~0ULL);
    while (!input.empty()) {
      switch (input.below(8)) {
        case 0:
          guest.act(input);
          break;
        case 1:
        case 2:
          host.act(input);
          break;
        case 3:
          give_buffers(guest, input);
          break;
        case 4:
          loop.turn();
          break;
        case 5:
          if (input.below(8) == 0) restore(device);
          break;
        default:
          send_packet(guest, input);
      }
      FUZZ_CHECK(device.connections() <= kMaxConnections);
    }
    FUZZ_CHECK(loop.turn_until_idle(2000));
    guest.set(0x070, 0);
  }
  FUZZ_CHECK(loop.watched() == 0);
  FUZZ_CHECK(loop.timers() == 0);
  loop.turn();  // what was posted finds the device gone
  return 0;
}
