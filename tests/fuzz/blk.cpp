// virtio-blk with hostile requests, on a host that answers when the input says so: in any order, in
// pieces, with errors. No request reaches beyond the disk, and a reset always ends.
#include "devices/virtio/blk.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/devices/fake_guest.h"

namespace thimble::fuzz {
namespace {

constexpr uint64_t kSectors = 64;

// Does what it is told in the guest's buffers, when finish() is called.
class HandDisk final : public DiskIo {
 public:
  struct Host {
    std::vector<std::pair<uint32_t, DiskRequest*>> started;
    std::vector<DiskCompletion> done;
    Fd event{eventfd(0, EFD_NONBLOCK)};

    // `limit` bytes of the request, or an error.
    void finish(size_t index, uint64_t limit, int error) {
      const auto [slot, request] = started[index];
      started.erase(started.begin() + static_cast<ptrdiff_t>(index));
      done.push_back({slot, error != 0 ? -error : perform(*request, limit)});
      eventfd_write(event.get(), 1);
    }
    static int64_t perform(const DiskRequest& request, uint64_t limit) {
      if (request.kind == DiskRequest::Kind::kFlush) return 0;
      FUZZ_CHECK(!request.parts.empty() && request.parts.size() <= DiskRequest::kMaxParts);
      uint64_t moved = 0;
      uint8_t sum = 0;
      for (const iovec& part : request.parts) {
        auto* bytes = static_cast<uint8_t*>(part.iov_base);
        for (size_t i = 0; i < part.iov_len && moved < limit; ++i, ++moved) {
          FUZZ_CHECK(request.offset + moved < kSectors * kSectorBytes);
          if (request.kind == DiskRequest::Kind::kRead) {
            bytes[i] = static_cast<uint8_t>(moved);
          } else {
            sum = static_cast<uint8_t>(sum + bytes[i]);
          }
        }
      }
      sink = sum;
      return static_cast<int64_t>(moved);
    }
    static inline volatile uint8_t sink = 0;
  };

  explicit HandDisk(std::shared_ptr<Host> host) : host_(std::move(host)) {}
  [[nodiscard]] std::string name() const override { return "by hand"; }
  void start(uint32_t slot, DiskRequest& request) override {
    FUZZ_CHECK(host_->started.size() < kMaxInFlight);
    host_->started.emplace_back(slot, &request);
  }
  void submit() override {}
  [[nodiscard]] int event() const override { return host_->event.get(); }
  void acknowledge() override {
    eventfd_t count = 0;
    eventfd_read(event(), &count);
  }
  std::optional<DiskCompletion> next_completion() override {
    if (host_->done.empty()) return std::nullopt;
    const DiskCompletion done = host_->done.back();
    host_->done.pop_back();
    return done;
  }
  void wait() override {
    FUZZ_CHECK(!host_->done.empty() || !host_->started.empty());
    if (host_->done.empty()) host_->finish(0, UINT64_MAX, 0);
  }

 private:
  std::shared_ptr<Host> host_;
};

Fd disk_file() {
  static const Fd file = [] {
    Fd made(memfd_create("disk", MFD_CLOEXEC));
    FUZZ_CHECK(ftruncate(made.get(), kSectors * kSectorBytes) == 0);
    return made;
  }();
  return Fd(dup(file.get()));
}

struct Header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

// A request whose shape is right and whose numbers are the input's.
void add_request(VirtioGuest& guest, Input& input) {
  static constexpr std::array<uint32_t, 6> kTypes = {0, 1, 4, 8, 11, 0xffffffff};
  const Gpa at = 0xc000 + (input.below(128) * 16);
  const uint32_t type = kTypes[input.below(kTypes.size())];
  (void)guest.memory.view.store(
      at,
      Header{type, 0, input.below(8) == 0 ? input.take<uint64_t>() : input.below(kSectors + 2)});
  std::vector<Descriptor> parts{{.address = at, .length = sizeof(Header)}};
  const uint32_t pieces = input.below(4);
  for (uint32_t i = 0; i < pieces; ++i) {
    const uint32_t length = input.below(4) == 0 ? Memory::length(input) : input.below(5) * 512;
    parts.push_back({.address = Memory::address(input),
                     .length = length,
                     .flags = static_cast<uint16_t>(type == 1 ? 0 : kWrite)});
  }
  parts.push_back({.address = 0xb000 + input.below(256), .length = 1, .flags = kWrite});
  guest.rings[0].add(input.take<uint8_t>(), parts);
  if (input.coin()) guest.transport.queue_notified(0);
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  using thimble::fake::Loop;
  Input input(data, size);
  const Memory memory;
  Loop loop;
  auto host = std::make_shared<HandDisk::Host>();
  auto disk = thimble::Blk::create({disk_file(), input.below(4) == 0, "fuzzed"},
                                   std::make_unique<HandDisk>(host), loop);
  FUZZ_CHECK(disk);
  {
    VirtioGuest guest(memory, **disk);
    if (input.below(8) != 0) guest.start(~0ULL);
    while (!input.empty()) {
      switch (input.below(5)) {
        case 0:
          guest.act(input);
          break;
        case 1:
          loop.turn();
          break;
        case 2:
          if (!host->started.empty()) {
            const size_t index = input.take<uint8_t>() % host->started.size();
            const int error = input.below(8) == 0 ? input.below(40) : 0;
            host->finish(index, input.coin() ? UINT64_MAX : input.take<uint16_t>(), error);
          }
          break;
        default:
          add_request(guest, input);
      }
    }
    // An honest driver is served afterwards.
    guest.start(0);
    FUZZ_CHECK(host->started.empty());
    FUZZ_CHECK(guest.get(0x070) == (VirtioGuest::kAgreed | VirtioGuest::kDriverOk));
    guest.set(0x070, 0);
  }
  disk->reset();
  FUZZ_CHECK(loop.watched() == 0);
  return 0;
}
