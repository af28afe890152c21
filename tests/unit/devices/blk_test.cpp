// virtio-blk on both backends, on a backend that completes by hand, and against hostile requests.
#include "devices/virtio/blk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <seccomp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <memory>

#include "tests/unit/devices/fake_driver.h"

namespace thimble {
namespace {

using fake::DriverQueue;
using fake::Guest;
using fake::Loop;
using fake::MmioDriver;
using Part = DriverQueue::Part;

constexpr uint32_t kIn = 0;
constexpr uint32_t kOut = 1;
constexpr uint32_t kFlush = 4;
constexpr uint32_t kGetId = 8;
constexpr uint8_t kOk = 0;
constexpr uint8_t kIoError = 1;
constexpr uint8_t kUnsupported = 2;
constexpr uint8_t kUntouched = 0x77;
constexpr uint64_t kSectors = 64;
constexpr uint64_t kFlushFeature = 1 << 9;

struct Header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

// A file of kSectors sectors whose bytes tell their sector.
Fd make_file(uint64_t size = kSectors * 512) {
  Fd file(memfd_create("disk", MFD_CLOEXEC));
  std::vector<uint8_t> bytes(size);
  for (uint64_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i / 512 + 1);
  EXPECT_EQ(pwrite(file.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
  return file;
}

Fd another(const Fd& file) { return Fd(dup(file.get())); }

// Completes only when told to. Counts calls.
class HandDisk final : public DiskIo {
 public:
  struct Record {
    std::vector<std::pair<uint32_t, DiskRequest*>> started;
    int submits = 0;
    int waits = 0;
    std::vector<DiskCompletion> done;
    Fd event{eventfd(0, EFD_NONBLOCK)};
    void complete(size_t index, int64_t result) {
      done.push_back({started[index].first, result});
      started.erase(started.begin() + static_cast<ptrdiff_t>(index));
      eventfd_write(event.get(), 1);
    }
  };

  explicit HandDisk(std::shared_ptr<Record> record) : record_(std::move(record)) {}
  std::string name() const override { return "by hand"; }
  void start(uint32_t slot, DiskRequest& request) override {
    record_->started.emplace_back(slot, &request);
  }
  void submit() override { ++record_->submits; }
  int event() const override { return record_->event.get(); }
  void acknowledge() override {
    eventfd_t count = 0;
    eventfd_read(event(), &count);
  }
  std::optional<DiskCompletion> next_completion() override {
    if (record_->done.empty()) return std::nullopt;
    const DiskCompletion done = record_->done.front();
    record_->done.erase(record_->done.begin());
    return done;
  }
  // The host finishes its oldest request, and has written into the guest's buffer until now.
  void wait() override {
    ++record_->waits;
    if (!record_->done.empty()) return;
    DiskRequest& request = *record_->started.front().second;
    for (const iovec& part : request.parts) std::memset(part.iov_base, 0xee, part.iov_len);
    record_->complete(0, static_cast<int64_t>(512 * request.parts.size()));
  }

 private:
  std::shared_ptr<Record> record_;
};

class BlkTest : public testing::Test {
 protected:
  void plug_in(std::unique_ptr<Blk> disk) {
    driver.reset();
    blk = std::move(disk);
    driver = std::make_unique<MmioDriver>(guest, *blk);
    driver->start();
  }
  void plug_in_file(DiskBackend backend, bool read_only = false) {
    auto disk = Blk::create({another(file), read_only, "test disk", backend}, loop);
    ASSERT_TRUE(disk) << disk.error().message;
    plug_in(std::move(*disk));
  }
  void plug_in_by_hand() {
    auto disk = Blk::create({another(file), false, "by hand", DiskBackend::kAuto},
                            std::make_unique<HandDisk>(hand), loop);
    ASSERT_TRUE(disk) << disk.error().message;
    plug_in(std::move(*disk));
  }

  DriverQueue& ring() { return driver->rings[0]; }
  void notify() { driver->transport.queue_notified(0); }
  bool needs_reset() { return (driver->status() & MmioDriver::kNeedsReset) != 0; }
  uint8_t byte_at(Gpa gpa) { return *guest.memory.load<uint8_t>(gpa); }

  // Makes a request available; returns where its status will be.
  Gpa add(uint32_t type, uint64_t sector, std::initializer_list<Part> data) {
    const Gpa status = guest.put_value(kUntouched);
    std::vector<Part> parts{{guest.put_value(Header{type, 0, sector}), sizeof(Header)}};
    parts.insert(parts.end(), data.begin(), data.end());
    parts.push_back({status, 1, true});
    ring().add(parts);
    return status;
  }
  // The next used entry, once it comes.
  std::optional<DriverQueue::Used> finish() {
    std::optional<DriverQueue::Used> used;
    loop.turn_until([&] { return (used = ring().take_used()).has_value(); },
                    std::chrono::seconds(5));
    return used;
  }
  // A whole request; returns its status, or kUntouched if the device did not answer.
  uint8_t request(uint32_t type, uint64_t sector, std::initializer_list<Part> data) {
    const Gpa status = add(type, sector, data);
    notify();
    last_used = finish();
    return byte_at(status);
  }
  std::vector<uint8_t> file_bytes(uint64_t offset, uint64_t size) {
    std::vector<uint8_t> bytes(size);
    EXPECT_EQ(pread(file.get(), bytes.data(), size, static_cast<off_t>(offset)),
              static_cast<ssize_t>(size));
    return bytes;
  }

  Fd file = make_file();
  std::shared_ptr<HandDisk::Record> hand = std::make_shared<HandDisk::Record>();
  Loop loop;
  Guest guest;
  std::unique_ptr<Blk> blk;
  std::unique_ptr<MmioDriver> driver;
  std::optional<DriverQueue::Used> last_used;
};

// ---- on the real backends

class BlkBackend : public BlkTest, public testing::WithParamInterface<DiskBackend> {};

INSTANTIATE_TEST_SUITE_P(On, BlkBackend, testing::Values(DiskBackend::kUring, DiskBackend::kThread),
                         [](const auto& test) {
                           return test.param == DiskBackend::kUring ? "Uring" : "Thread";
                         });

TEST_P(BlkBackend, ReadsWhatTheFileHolds) {
  plug_in_file(GetParam());
  const Gpa data = guest.allocate(1024);
  EXPECT_EQ(request(kIn, 3, {{data, 1024, true}}), kOk);
  EXPECT_EQ(guest.bytes(data, 1024), file_bytes(3 * 512, 1024));
  ASSERT_TRUE(last_used);
  EXPECT_EQ(last_used->length, 1025U);
  EXPECT_EQ(driver->irq.pulses, 1);
}

TEST_P(BlkBackend, WritesReachTheFile) {
  plug_in_file(GetParam());
  const std::vector<uint8_t> bytes(1024, 0xcd);
  EXPECT_EQ(request(kOut, kSectors - 2, {{guest.put(bytes), 1024}}), kOk);
  EXPECT_EQ(file_bytes((kSectors - 2) * 512, 1024), bytes);
  ASSERT_TRUE(last_used);
  EXPECT_EQ(last_used->length, 1U);
  EXPECT_EQ(request(kFlush, 0, {}), kOk);
}

TEST_P(BlkBackend, SegmentsOfAnySizeAreOneTransfer) {
  plug_in_file(GetParam());
  const Gpa data = guest.allocate(4096);
  EXPECT_EQ(request(kIn, 1, {{data, 1, true}, {data + 1, 700, true}, {data + 701, 323, true}}),
            kOk);
  EXPECT_EQ(guest.bytes(data, 1024), file_bytes(512, 1024));
  const std::vector<uint8_t> bytes(512, 0x11);
  const Gpa from = guest.put(bytes);
  EXPECT_EQ(request(kOut, 0, {{from, 100}, {from + 100, 412}}), kOk);
  EXPECT_EQ(file_bytes(0, 512), bytes);
}

TEST_P(BlkBackend, HeaderAndStatusMayShareDescriptorsWithData) {
  plug_in_file(GetParam());
  const Gpa header = guest.put_value(Header{kIn, 0, 5});
  const Gpa data = guest.allocate(513);
  ring().add({{header, 3}, {header + 3, 13}, {data, 513, true}});
  notify();
  ASSERT_TRUE(finish());
  EXPECT_EQ(guest.bytes(data, 512), file_bytes(5 * 512, 512));
  EXPECT_EQ(byte_at(data + 512), kOk);
}

TEST_P(BlkBackend, EveryRequestOfAFullRingIsAnswered) {
  plug_in_file(GetParam());
  const Gpa header = guest.put_value(Header{kIn, 0, 9});
  const Gpa data = guest.allocate(512);
  const Gpa status = guest.allocate(1);
  // Indirect tables let all 128 heads be in use at once: twice what is ever under way.
  const DriverQueue::Descriptor table[] = {{header, 16, DriverQueue::kNext, 1},
                                           {data, 512, DriverQueue::kNext | DriverQueue::kWrite, 2},
                                           {status, 1, DriverQueue::kWrite, 0}};
  const Gpa at = guest.put_value(table);
  for (int round = 0; round < 20; ++round) {
    for (uint16_t head = 0; head < ring().size; ++head) {
      ring().set(head, {at, sizeof(table), DriverQueue::kIndirect, 0});
      ring().make_available(head);
    }
    notify();
    for (uint16_t i = 0; i < ring().size; ++i) ASSERT_TRUE(finish()) << round << ' ' << i;
  }
  EXPECT_FALSE(needs_reset());
}

TEST_P(BlkBackend, FileThatShrankIsAnIoError) {
  plug_in_file(GetParam());
  ASSERT_EQ(ftruncate(file.get(), 512), 0);
  const Gpa data = guest.allocate(1024);
  EXPECT_EQ(request(kIn, 0, {{data, 1024, true}}), kIoError);
  EXPECT_EQ(request(kIn, 0, {{data, 512, true}}), kOk);
}

TEST_P(BlkBackend, DriverWithoutFlushIsServed) {
  plug_in_file(GetParam());
  driver->start(driver->offered_features() & ~kFlushFeature & ~kFeatureEventIdx);
  const std::vector<uint8_t> bytes(512, 0x3c);
  EXPECT_EQ(request(kOut, 2, {{guest.put(bytes), 512}}), kOk);
  EXPECT_EQ(file_bytes(1024, 512), bytes);
}

TEST_P(BlkBackend, ResetInTheMiddleOfRequestsLeavesNothingBehind) {
  plug_in_file(GetParam());
  const Gpa data = guest.allocate(512);
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 30; ++i) {
      ring().add({{guest.put_value(Header{kIn, 0, 7}), 16}, {data, 512, true}, {data, 1, true}});
    }
    notify();
    driver->set_status(0);
    const std::vector<uint8_t> mark(512, 0x42);
    std::ranges::copy(mark, guest.memory.at(data, 512));
    const auto used = ring().used_index();
    loop.turn_until_idle();
    ASSERT_EQ(guest.bytes(data, 512), mark);
    ASSERT_EQ(ring().used_index(), used);
    if (round % 10 != 0) continue;
    driver->start();
    ASSERT_EQ(request(kIn, 1, {{data, 512, true}}), kOk);
  }
}

TEST_P(BlkBackend, DiskMayGoWhileRequestsAreUnderWay) {
  plug_in_file(GetParam());
  for (int i = 0; i < 40; ++i) add(kIn, 1, {{guest.allocate(512), 512, true}});
  notify();
  driver.reset();
  blk.reset();
  EXPECT_EQ(loop.watched(), 0U);
}

// ---- judging requests

class BlkRequests : public BlkTest {
 protected:
  BlkRequests() { plug_in_file(DiskBackend::kAuto); }
};

TEST_F(BlkRequests, ConfigurationTellsSizeAndLimits) {
  EXPECT_EQ(driver->get(0x100), kSectors);
  EXPECT_EQ(driver->get(0x104), 0U);
  EXPECT_EQ(driver->get(0x108), 512U << 10) << "largest segment";
  EXPECT_EQ(driver->get(0x10c), 126U) << "segments";
  EXPECT_EQ(driver->get(0x114), 512U);
  EXPECT_EQ(driver->get(0x118), 0U);
}

TEST_F(BlkRequests, IdIsPaddedToTwentyBytes) {
  const Gpa data = guest.put(std::vector<uint8_t>(20, 0xff));
  EXPECT_EQ(request(kGetId, 0, {{data, 20, true}}), kOk);
  const auto id = guest.bytes(data, 20);
  EXPECT_EQ(std::string(id.begin(), id.end()), std::string("test disk") + std::string(11, '\0'));
  ASSERT_TRUE(last_used);
  EXPECT_EQ(last_used->length, 21U);
}

TEST_F(BlkRequests, IdIsCutToTheRoomThatThereIs) {
  const Gpa data = guest.put(std::vector<uint8_t>(8, 0xff));
  EXPECT_EQ(request(kGetId, 0, {{data, 2, true}, {data + 2, 2, true}}), kOk);
  EXPECT_EQ(guest.bytes(data, 5), (std::vector<uint8_t>{'t', 'e', 's', 't', 0xff}));
  EXPECT_EQ(request(kGetId, 0, {}), kOk);
}

TEST_F(BlkRequests, UnknownTypesAreUnsupported) {
  for (const uint32_t type : {2U, 11U, 13U, 0xffffffffU}) {
    EXPECT_EQ(request(type, 0, {}), kUnsupported) << type;
  }
}

struct Span {
  const char* name;
  uint64_t sector;
  uint32_t bytes;
  uint8_t status;
};

class BlkBounds : public BlkRequests, public testing::WithParamInterface<Span> {};

TEST_P(BlkBounds, AreHeldByReads) {
  const Gpa data = guest.allocate(4096);
  EXPECT_EQ(request(kIn, GetParam().sector, {{data, GetParam().bytes, true}}), GetParam().status);
}

TEST_P(BlkBounds, AreHeldByWrites) {
  const Gpa data = guest.allocate(4096);
  EXPECT_EQ(request(kOut, GetParam().sector, {{data, GetParam().bytes}}), GetParam().status);
  struct stat info{};
  ASSERT_EQ(fstat(file.get(), &info), 0);
  EXPECT_EQ(info.st_size, static_cast<off_t>(kSectors * 512)) << "the file never grows";
}

INSTANTIATE_TEST_SUITE_P(
    Of, BlkBounds,
    testing::Values(Span{"LastSector", kSectors - 1, 512, kOk}, Span{"Nothing", 0, 0, kOk},
                    Span{"NothingAtTheEnd", kSectors, 0, kOk},
                    Span{"NothingBehindTheEnd", kSectors + 1, 0, kIoError},
                    Span{"FirstSectorBehindTheEnd", kSectors, 512, kIoError},
                    Span{"AcrossTheEnd", kSectors - 1, 1024, kIoError},
                    Span{"PartOfASector", 0, 513, kIoError},
                    Span{"LargestSector", UINT64_MAX, 512, kIoError},
                    Span{"OffsetThatWraps", UINT64_MAX / 512 + 1, 512, kIoError}),
    [](const auto& test) { return test.param.name; });

TEST_F(BlkRequests, ReadOnlyDiskRefusesWritesAndSaysSo) {
  plug_in_file(DiskBackend::kAuto, true);
  EXPECT_NE(driver->offered_features() & (1 << 5), 0U);
  const auto before = file_bytes(0, 512);
  const Gpa data = guest.put(std::vector<uint8_t>(512, 0xcd));
  EXPECT_EQ(request(kOut, 0, {{data, 512}}), kIoError);
  EXPECT_EQ(file_bytes(0, 512), before);
  EXPECT_EQ(request(kFlush, 0, {}), kOk);
}

TEST_F(BlkRequests, ChainWithoutRoomForAStatusNeedsAReset) {
  ring().add({{guest.put_value(Header{kIn, 0, 0}), 16}});
  notify();
  EXPECT_TRUE(needs_reset());
  EXPECT_FALSE(ring().take_used());
}

TEST_F(BlkRequests, ChainWithHalfAHeaderNeedsAReset) {
  ring().add({{guest.put_value(Header{kIn, 0, 0}), 15}, {guest.allocate(1), 1, true}});
  notify();
  EXPECT_TRUE(needs_reset());
}

TEST_F(BlkRequests, DescriptorsWithoutBytesAreNoStatus) {
  const Gpa page = guest.allocate(16);
  ring().add({{guest.put_value(Header{kIn, 0, 0}), 16}, {page, 0, true}, {page, 0, true}});
  notify();
  EXPECT_TRUE(needs_reset());
}

TEST_F(BlkRequests, TransferInMorePiecesThanTheHostTakesIsAnIoError) {
  std::vector<DriverQueue::Descriptor> table;
  const Gpa data = guest.allocate(2048);
  const Gpa status = guest.put_value(kUntouched);
  constexpr uint16_t kPieces = 1022;
  for (uint16_t i = 0; i < kPieces; ++i) {
    table.push_back({data, i + 1 < kPieces ? 1U : 3U, 3, static_cast<uint16_t>(i + 1)});
  }
  table.push_back({status, 1, DriverQueue::kWrite, 0});
  const Gpa at = guest.put(std::span(reinterpret_cast<uint8_t*>(table.data()), table.size() * 16));
  const Gpa header = guest.put_value(Header{kIn, 0, 0});
  ring().set(0, {header, 16, DriverQueue::kNext, 1});
  for (uint16_t i = 1; i < 10; ++i) ring().set(i, {data, 0, 3, static_cast<uint16_t>(i + 1)});
  ring().set(10, {at, static_cast<uint32_t>(table.size() * 16), DriverQueue::kIndirect, 0});
  ring().make_available(0);
  notify();
  ASSERT_TRUE(finish());
  EXPECT_EQ(byte_at(status), kOk) << "1024 bytes in 1022 pieces";

  for (uint16_t i = 1; i < 10; ++i) ring().set(i, {data, 512, 3, static_cast<uint16_t>(i + 1)});
  ring().make_available(0);
  notify();
  ASSERT_TRUE(finish());
  EXPECT_EQ(byte_at(status), kIoError) << "1031 pieces";
}

// The last chain of the ring has the disk's id written over the ring's index, which makes the whole
// ring available once more.
TEST_F(BlkRequests, RequestsThatMakeMoreRequestsDoNotKeepTheLoop) {
  auto disk = Blk::create({another(file), false, std::string("\0\1", 2)}, loop);
  ASSERT_TRUE(disk);
  plug_in(std::move(*disk));
  const Gpa header = guest.put_value(Header{kGetId, 0, 0});
  const Gpa status = guest.allocate(1);
  const uint16_t size = ring().size;
  ring().set(0, {header, 16, DriverQueue::kNext, 1});
  ring().set(1, {status, 1, DriverQueue::kWrite, 0});
  ring().set(2, {header, 16, DriverQueue::kNext, 3});
  ring().set(3, {ring().available + 2, 2, DriverQueue::kNext | DriverQueue::kWrite, 1});
  for (uint16_t i = 0; i < size; ++i) ring().make_available(i + 1 < size ? 0 : 2);
  notify();
  EXPECT_EQ(ring().used_index(), size) << "one ringful";
  loop.turn();
  EXPECT_EQ(ring().used_index(), 2 * size);
  EXPECT_FALSE(needs_reset());
}

// ---- on a backend that completes by hand

class BlkByHand : public BlkTest {
 protected:
  BlkByHand() { plug_in_by_hand(); }
};

TEST_F(BlkByHand, OneNotificationIsOneSubmissionAndOneInterrupt) {
  for (int i = 0; i < 10; ++i) add(kIn, 1, {{guest.allocate(512), 512, true}});
  notify();
  EXPECT_EQ(hand->started.size(), 10U);
  EXPECT_LE(hand->submits, 2);
  for (int i = 0; i < 10; ++i) hand->complete(0, 512);
  loop.turn();
  EXPECT_EQ(ring().used_index(), 10);
  EXPECT_EQ(driver->irq.pulses, 1);
}

TEST_F(BlkByHand, CompletionsMayComeInAnyOrder) {
  const Gpa first = add(kIn, 1, {{guest.allocate(512), 512, true}});
  const Gpa second = add(kFlush, 0, {});
  notify();
  hand->complete(1, 0);
  loop.turn();
  EXPECT_EQ(byte_at(second), kOk);
  EXPECT_EQ(byte_at(first), kUntouched);
  hand->complete(0, -EIO);
  loop.turn();
  EXPECT_EQ(byte_at(first), kIoError);
}

TEST_F(BlkByHand, ShortTransferGoesOnWhereItStopped) {
  const Gpa data = guest.allocate(1024);
  const Gpa status = add(kIn, 2, {{data, 512, true}, {data + 512, 512, true}});
  notify();
  hand->complete(0, 600);
  loop.turn();
  ASSERT_EQ(hand->started.size(), 1U);
  EXPECT_EQ(byte_at(status), kUntouched);
  const DiskRequest& rest = *hand->started[0].second;
  EXPECT_EQ(rest.offset, 2 * 512 + 600U);
  ASSERT_EQ(rest.parts.size(), 1U);
  EXPECT_EQ(rest.parts[0].iov_base, guest.memory.at(data + 600, 424));
  EXPECT_EQ(rest.parts[0].iov_len, 424U);
  hand->complete(0, 424);
  loop.turn();
  EXPECT_EQ(byte_at(status), kOk);
}

TEST_F(BlkByHand, InterruptedCallIsRepeated) {
  const Gpa status = add(kFlush, 0, {});
  notify();
  hand->complete(0, -EINTR);
  loop.turn();
  ASSERT_EQ(hand->started.size(), 1U);
  hand->complete(0, -ENOSPC);
  loop.turn();
  EXPECT_EQ(byte_at(status), kIoError);
}

TEST_F(BlkByHand, WritesAreDurableUnlessTheDriverFlushes) {
  add(kOut, 0, {{guest.allocate(512), 512}});
  notify();
  EXPECT_FALSE(hand->started[0].second->durable);
  driver->start(driver->offered_features() & ~kFlushFeature);
  add(kOut, 0, {{guest.allocate(512), 512}});
  notify();
  EXPECT_TRUE(hand->started[0].second->durable);
}

TEST_F(BlkByHand, NoMoreIsUnderWayThanTheHostWasToldToExpect) {
  const Gpa header = guest.put_value(Header{kFlush, 0, 0});
  const Gpa status = guest.allocate(1);
  const DriverQueue::Descriptor table[] = {{header, 16, DriverQueue::kNext, 1},
                                           {status, 1, DriverQueue::kWrite, 0}};
  const Gpa at = guest.put_value(table);
  for (uint16_t head = 0; head < 128; ++head) {
    ring().set(head, {at, sizeof(table), DriverQueue::kIndirect, 0});
    ring().make_available(head);
  }
  notify();
  notify();
  EXPECT_EQ(hand->started.size(), DiskIo::kMaxInFlight);
  for (int i = 0; i < 5; ++i) hand->complete(0, 0);
  loop.turn();
  EXPECT_EQ(hand->started.size(), DiskIo::kMaxInFlight);
  EXPECT_EQ(ring().used_index(), 5);
}

// Reads of many times the guest's memory: the same half MiB again and again.
class BlkHuge : public BlkTest {
 protected:
  static constexpr uint32_t kPiece = 512 << 10;
  BlkHuge() {
    file = Fd(memfd_create("disk", MFD_CLOEXEC));
    EXPECT_EQ(ftruncate(file.get(), 1 << 30), 0);
    plug_in_by_hand();
  }
  // Makes it available as chain `head`; returns where its status will be.
  Gpa add_huge(uint16_t head, uint16_t pieces) {
    std::vector<DriverQueue::Descriptor> table{
        {guest.put_value(Header{kIn, 0, 0}), sizeof(Header), DriverQueue::kNext, 1}};
    for (uint16_t i = 0; i < pieces; ++i) {
      table.push_back({Guest::kLowSize - kPiece, kPiece, 3, static_cast<uint16_t>(i + 2)});
    }
    const Gpa status = guest.put_value(kUntouched);
    table.push_back({status, 1, DriverQueue::kWrite, 0});
    const auto bytes = static_cast<uint32_t>(table.size() * sizeof(table[0]));
    const Gpa at = guest.put(std::span(reinterpret_cast<uint8_t*>(table.data()), bytes));
    ring().set(head, {at, bytes, DriverQueue::kIndirect, 0});
    ring().make_available(head);
    return status;
  }
};

TEST_F(BlkHuge, RequestOfMoreThanTheLimitsAllowIsAnIoError) {
  const Gpa largest = add_huge(0, 126);
  const Gpa larger = add_huge(1, 127);
  notify();
  ASSERT_EQ(hand->started.size(), 1U);
  EXPECT_EQ(byte_at(larger), kIoError);
  hand->complete(0, 126LL * kPiece);
  loop.turn();
  EXPECT_EQ(byte_at(largest), kOk);
}

TEST_F(BlkHuge, BytesUnderWayAreBounded) {
  for (uint16_t head = 0; head < 40; ++head) add_huge(head, 126);
  notify();
  uint64_t bytes = 0;
  for (const auto& [slot, request] : hand->started) bytes += request->parts.size() * kPiece;
  EXPECT_LE(bytes, Blk::kMaxBytesUnderWay + Blk::kMaxRequestBytes);
  for (int served = 0; served < 40; ++served) {
    ASSERT_FALSE(hand->started.empty()) << "the rest waits in the ring and is taken up again";
    hand->complete(0, 126LL * kPiece);
    loop.turn();
  }
  EXPECT_EQ(ring().used_index(), 40);
}

TEST_F(BlkByHand, ResetReturnsOnlyWhenTheHostNoLongerTouchesTheGuest) {
  const Gpa data = guest.allocate(512);
  const Gpa status = add(kIn, 0, {{data, 512, true}});
  add(kIn, 1, {{guest.allocate(512), 512, true}});
  notify();
  driver->set_status(0);
  EXPECT_TRUE(hand->started.empty());
  EXPECT_EQ(hand->waits, 2);
  EXPECT_EQ(byte_at(status), kUntouched) << "nothing of the earlier life is answered";
  EXPECT_EQ(ring().used_index(), 0);
  EXPECT_EQ(driver->irq.pulses, 0);
}

TEST_F(BlkByHand, RequestsOfAnEarlierLifeNeverCompleteInALaterOne) {
  add(kIn, 0, {{guest.allocate(512), 512, true}});
  notify();
  hand->complete(0, 512);  // the event waits in the loop while the driver resets
  driver->start();
  loop.turn_until_idle();
  EXPECT_EQ(ring().used_index(), 0);
  const Gpa status = add(kFlush, 0, {});
  notify();
  hand->complete(0, 0);
  loop.turn();
  EXPECT_EQ(byte_at(status), kOk);
}

TEST_F(BlkByHand, QueueStoppedMeanwhileGetsNoUsedEntries) {
  add(kFlush, 0, {});
  notify();
  driver->set(0x030, 0);
  driver->set(0x044, 0);
  hand->complete(0, 0);
  loop.turn();
  EXPECT_EQ(ring().used_index(), 0);
  EXPECT_FALSE(needs_reset());
}

TEST_F(BlkByHand, Firecracker5554SavingFinishesWhatIsUnderWay) {
  const Gpa status = add(kIn, 0, {{guest.allocate(512), 512, true}});
  notify();
  driver->transport.save();
  EXPECT_EQ(byte_at(status), kOk);
  EXPECT_EQ(ring().used_index(), 1);
  EXPECT_EQ(driver->irq.pulses, 1);
}

// ---- set-up

class BlkSetUp : public BlkTest {
 protected:
  std::string error_for(DiskOptions options) {
    auto disk = Blk::create(std::move(options), loop);
    return disk ? "" : disk.error().message;
  }
};

TEST_F(BlkSetUp, FilesThatAreNoDiskAreRefusedWithTheReason) {
  EXPECT_NE(error_for({make_file(0), true, "root"}).find("disk root: the file is empty"),
            std::string::npos);
  EXPECT_NE(error_for({make_file(1000), true, "root"}).find("not a multiple of 512"),
            std::string::npos);
  EXPECT_NE(error_for({Fd(open("/", O_RDONLY | O_DIRECTORY)), true, "root"})
                .find("not a regular file or block device"),
            std::string::npos);
  EXPECT_NE(error_for({Fd(), true, "root"}), "");
}

TEST_F(BlkSetUp, WritableDiskNeedsAWritableFile) {
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const auto read_only_file = [&] { return Fd(open(path.c_str(), O_RDONLY)); };
  EXPECT_NE(error_for({read_only_file(), false, "root"}).find("reading and writing"),
            std::string::npos);
  EXPECT_EQ(error_for({read_only_file(), true, "root"}), "");
}

// Where io_uring is forbidden, as container runtimes do it.
int exit_status_without_io_uring(DiskBackend backend) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
  if (seccomp_load(filter) != 0) return 3;
  Loop loop;
  auto disk = Blk::create({make_file(), true, "root", backend}, loop);
  if (!disk) return disk.error().message.find("io_uring_setup") != std::string::npos ? 1 : 4;
  const std::string expected = "worker thread (io_uring_setup: Operation not permitted)";
  return (*disk)->backend_name() == expected ? 0 : 2;
}

TEST(BlkSetUpDeathTest, WorkerThreadStandsInWhereIoUringIsForbidden) {
  EXPECT_EXIT(_exit(exit_status_without_io_uring(DiskBackend::kAuto)), testing::ExitedWithCode(0),
              "");
  EXPECT_EXIT(_exit(exit_status_without_io_uring(DiskBackend::kUring)), testing::ExitedWithCode(1),
              "");
}

// ---- state

TEST_F(BlkTest, SaveLoadSaveGivesTheSameBytes) {
  plug_in_file(DiskBackend::kAuto);
  BlkState state = blk->save();
  const auto bytes = save_state(state);
  auto loaded = load_state<BlkState>(bytes);
  ASSERT_TRUE(loaded);
  auto clone = Blk::create({another(file), false, "other name", DiskBackend::kAuto}, loop);
  ASSERT_TRUE(clone);
  ASSERT_TRUE((*clone)->restore(*loaded));
  BlkState again = (*clone)->save();
  EXPECT_EQ(save_state(again), bytes);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(load_state<BlkState>(std::span(bytes).first(length)));
  }
}

TEST_F(BlkTest, StateOfAnotherDiskIsRefused) {
  plug_in_file(DiskBackend::kAuto);
  BlkState state = blk->save();
  ++state.capacity;
  EXPECT_FALSE(blk->restore(state));
  state = blk->save();
  state.read_only = 1;
  EXPECT_FALSE(blk->restore(state));
}

}  // namespace
}  // namespace thimble
