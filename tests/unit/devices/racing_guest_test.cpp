// A guest with two CPUs: one notifies and resets a device, the other changes rings and buffers all
// the while. Nothing that the device reads can be trusted to stay, and it must not matter.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "devices/virtio/blk.h"
#include "devices/virtio/rng.h"
#include "tests/unit/devices/fake_driver.h"
#include "tests/unit/devices/fake_vsock_driver.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GUEST_RACES_ARE_REPORTED  // they are what this test is about
#endif
#endif

namespace thimble {
namespace {

using fake::DriverQueue;
using fake::Guest;
using fake::Loop;
using fake::MmioDriver;

constexpr auto kDuration = std::chrono::milliseconds(300);

// The second CPU: writes to one ring after another, mostly what makes sense for a moment.
class Flipper {
 public:
  Flipper(Guest& guest, std::vector<DriverQueue*> rings)
      : thread_([this, &guest, rings = std::move(rings)] {
          std::minstd_rand random(1);
          while (!stop_.load()) flip(guest, *rings[random() % rings.size()], random);
        }) {}
  ~Flipper() {
    stop_.store(true);
    thread_.join();
  }
  Flipper(const Flipper&) = delete;
  Flipper& operator=(const Flipper&) = delete;

 private:
  static void flip(Guest& guest, DriverQueue& ring, std::minstd_rand& random) {
    static constexpr uint64_t kAddresses[] = {0x2000,
                                              Guest::kLowSize - 8,
                                              Guest::kHighBase - 8,
                                              Guest::kHighBase + Guest::kHighSize - 8,
                                              0xfffffffffffffff8,
                                              0x3000};
    static constexpr uint32_t kLengths[] = {16, 1, 512, 0, 0xffffffff, 4096};
    const auto index = static_cast<uint16_t>(random() % ring.size);
    const auto next = static_cast<uint16_t>(random() % 8 == 0 ? random() : random() % ring.size);
    ring.set(index, {kAddresses[random() % 6], kLengths[random() % 6],
                     static_cast<uint16_t>(random() % 8), next});
    (void)guest.memory.store<uint16_t>(ring.available + 4 + random() % ring.size * 2,
                                       static_cast<uint16_t>(random() % (ring.size + 1)));
    if (random() % 16 != 0) return;
    const auto used = ring.used_index();
    (void)guest.memory.store<uint16_t>(ring.available + 2,
                                       static_cast<uint16_t>(used + random() % (ring.size + 2)));
  }
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// The first CPU: notifies, and starts over whenever the device has had enough.
void torment(MmioDriver& driver, Loop& loop) {
  std::vector<DriverQueue*> rings;
  for (DriverQueue& ring : driver.rings) rings.push_back(&ring);
  const Flipper second_cpu(driver.guest, std::move(rings));
  const auto end = std::chrono::steady_clock::now() + kDuration;
  for (int round = 0; std::chrono::steady_clock::now() < end; ++round) {
    for (size_t queue = 0; queue < driver.rings.size(); ++queue) {
      driver.transport.queue_notified(queue);
    }
    loop.turn();
    if ((driver.status() & MmioDriver::kNeedsReset) == 0 && round % 64 != 0) continue;
    ASSERT_TRUE(driver.negotiate(driver.offered_features()));
    for (uint32_t queue = 0; queue < driver.rings.size(); ++queue) {
      (void)driver.guest.memory.store<uint32_t>(driver.rings[queue].available, 0);
      driver.set_queue(queue, driver.rings[queue]);
    }
    driver.set_status(0xf);
  }
}

class RacingGuest : public testing::Test {
 protected:
  void SetUp() override {
#ifdef GUEST_RACES_ARE_REPORTED
    GTEST_SKIP() << "every access of the guest is a race to this sanitizer";
#endif
  }
  Loop loop;
  Guest guest;
};

TEST_F(RacingGuest, RngHoldsOut) {
  Rng rng(loop);
  MmioDriver driver(guest, rng);
  driver.start();
  torment(driver, loop);
}

class RacingGuestAndDisk : public RacingGuest, public testing::WithParamInterface<DiskBackend> {};

INSTANTIATE_TEST_SUITE_P(On, RacingGuestAndDisk,
                         testing::Values(DiskBackend::kUring, DiskBackend::kThread),
                         [](const auto& test) {
                           return test.param == DiskBackend::kUring ? "Uring" : "Thread";
                         });

TEST_P(RacingGuestAndDisk, BlkHoldsOut) {
  Fd file(memfd_create("disk", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 1 << 20), 0);
  auto disk = Blk::create({std::move(file), false, "disk", GetParam()}, loop);
  ASSERT_TRUE(disk) << disk.error().message;
  MmioDriver driver(guest, **disk);
  driver.start();
  torment(driver, loop);
  driver.set_status(0);
}

TEST_F(RacingGuest, VsockHoldsOut) {
  VsockDevice vsock(fake::kGuestCid, loop);
  std::vector<Fd> ends;
  vsock.set_connector([&ends](uint32_t) -> Result<Fd> {
    fake::StreamPair pair;
    if (ends.size() < 100) ends.push_back(std::move(pair.host));
    return std::move(pair.device);
  });
  // Headers for the transmit queue to find now and then.
  const auto request = fake::VsockDriver::packet(VsockOp::kRequest, 5000, 80);
  (void)guest.memory.store(0x2000, request);
  (void)guest.memory.store(0x3000, fake::VsockDriver::packet(VsockOp::kData, 5000, 80));
  MmioDriver driver(guest, vsock);
  for (int i = 0; i < 64; ++i) guest.allocate(4096);  // the rings lie behind the buffers
  driver.start();
  torment(driver, loop);
  driver.set_status(0);
}

}  // namespace
}  // namespace thimble
