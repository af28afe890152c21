// virtio-blk (virtio 1.2, 5.2): a disk in a file or block device of the host. One request queue.
//
// Life of a request: take its chain, judge it, start host I/O straight into the guest's buffers
// (disk_io.h), and on completion write the status byte and put the used entry. At most
// DiskIo::kMaxInFlight requests are under way, and none begins while kMaxBytesUnderWay are; then
// chains wait in the ring until one completes. A reset waits for what is under way, since the host
// may be writing to the guest's pages: it takes as long as the slowest request, and nothing of an
// earlier life ever completes in a later one.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "devices/event_loop.h"
#include "devices/fd.h"
#include "devices/result.h"
#include "devices/virtio/blk_request.h"
#include "devices/virtio/device.h"
#include "devices/virtio/disk_io.h"

namespace thimble {

struct DiskOptions {
  Fd file;  // regular file or block device; its size is the disk's, a multiple of 512 bytes
  bool read_only = true;
  std::string id;  // what the guest sees as serial number: the first 20 bytes
  DiskBackend backend = DiskBackend::kAuto;
  OnWorker on_worker = nullptr;  // see disk_io.h
};

// Requests are finished before a snapshot or still in the ring, so all that is left is what the
// driver knows about the disk.
struct BlkState {
  uint64_t capacity = 0;  // sectors of 512 bytes
  uint8_t read_only = 0;
  std::vector<uint8_t> id;
  void describe(StateVisitor& visitor);
};

class Blk final : public VirtioDevice {
 public:
  static constexpr size_t kIdBytes = 20;
  // A request may name the same memory many times over, so its size has no limit but these: a
  // reset waits for all that is under way.
  static constexpr uint32_t kMaxSegments = 126;  // header and status take one descriptor each
  static constexpr uint32_t kMaxSegmentBytes = 512 << 10;
  static constexpr uint64_t kMaxRequestBytes = uint64_t{kMaxSegments} * kMaxSegmentBytes;
  static constexpr uint64_t kMaxBytesUnderWay = 64 << 20;

  // Watches the backend's descriptor on `loop`, which must outlive the disk.
  static Result<std::unique_ptr<Blk>> create(DiskOptions options, EventLoop& loop);
  // The same on I/O of the caller's own.
  static Result<std::unique_ptr<Blk>> create(DiskOptions options, std::unique_ptr<DiskIo> io,
                                             EventLoop& loop);
  ~Blk() override;
  Blk(const Blk&) = delete;
  Blk& operator=(const Blk&) = delete;

  // How the host does the I/O, for the log: "io_uring", or "worker thread (why)".
  [[nodiscard]] std::string backend_name() const { return io_->name(); }

  [[nodiscard]] VirtioId id() const override { return VirtioId::kBlock; }
  [[nodiscard]] uint64_t features() const override;
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  void read_config(uint32_t offset, std::span<uint8_t> data) override;
  void activate(VirtioTransport& transport, uint64_t features) override;
  void notify(size_t index) override;
  void reset() override;
  void drain() override;

  std::vector<uint8_t> saved_state() override;
  Result<void> restore_state(std::span<const uint8_t> saved) override;

  BlkState save();
  // Before the transport's restore(). Refuses the state of a disk of another size or access.
  Result<void> restore(const BlkState& state);

 private:
  struct Slot {
    uint16_t head = 0;
    uint8_t* status = nullptr;
    uint32_t data_written = 0;  // bytes into the guest's buffers, when all goes well
    uint64_t bytes = 0;         // either way
    DiskRequest io;
  };

  Blk(DiskOptions options, uint64_t capacity, std::unique_ptr<DiskIo> io, EventLoop& loop);
  void serve();
  void take_chains();
  void serve_again_soon();
  void begin(const Chain& chain);
  void start(BlkRequest request, DiskRequest::Kind kind);
  void reap();
  void complete(const DiskCompletion& done);
  void answer(uint16_t head, uint8_t* status, BlkStatus value, uint32_t data_written);
  uint32_t write_id(const BlkRequest& request);
  [[nodiscard]] bool idle() const { return free_.size() == slots_.size(); }

  EventLoop& loop_;
  Fd file_;
  BlkState state_;
  std::unique_ptr<DiskIo> io_;
  VirtioTransport* transport_ = nullptr;  // while the driver runs the device
  bool durable_writes_ = false;           // the driver does not know FLUSH
  bool serve_posted_ = false;
  std::array<Slot, DiskIo::kMaxInFlight> slots_;
  std::vector<uint32_t> free_;  // slots that nothing is under way in
  uint64_t bytes_under_way_ = 0;
};

}  // namespace thimble
