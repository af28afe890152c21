// See blk.h.
#include "devices/virtio/blk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>

#include "devices/text.h"

namespace thimble {

namespace {

constexpr std::array<uint16_t, 1> kQueueSizes{128};
constexpr int kChainsPerRound = kQueueSizes[0];
static_assert(Blk::kMaxSegments + 2 <= kQueueSizes[0]);

// Feature bits (5.2.3).
constexpr uint64_t kSizeMax = 1 << 1;
constexpr uint64_t kSegMax = 1 << 2;
constexpr uint64_t kReadOnly = 1 << 5;
constexpr uint64_t kBlkSize = 1 << 6;
constexpr uint64_t kFlush = 1 << 9;

// The head of the configuration space (5.2.4); what is not offered is left zero.
struct Config {
  uint64_t capacity;
  uint32_t size_max;
  uint32_t seg_max;
  uint32_t geometry;
  uint32_t blk_size;
};

Result<uint64_t> size_of(int file) {
  struct stat info{};
  if (fstat(file, &info) != 0) return fail_errno("fstat");
  if (S_ISREG(info.st_mode)) return static_cast<uint64_t>(info.st_size);
  if (!S_ISBLK(info.st_mode)) return fail("not a regular file or block device");
  uint64_t size = 0;
  if (ioctl(file, BLKGETSIZE64, &size) != 0) return fail_errno("ioctl BLKGETSIZE64");
  return size;
}

// The size in sectors of a file that can be this disk.
Result<uint64_t> judge_file(const DiskOptions& options) {
  const auto size = size_of(options.file.get());
  if (!size) return std::unexpected(size.error());
  if (*size == 0) return fail("the file is empty: a disk has at least 512 bytes");
  if (*size % kSectorBytes != 0) {
    return fail(
        text("the file's %lu bytes are not a multiple of 512: it was cut short, or "
             "`truncate -s %%512` pads it",
             *size));
  }
  const int access = fcntl(options.file.get(), F_GETFL) & O_ACCMODE;
  if (!options.read_only && access != O_RDWR) {
    return fail("a writable disk needs its file opened for reading and writing");
  }
  return *size / kSectorBytes;
}

std::vector<uint8_t> id_bytes(const std::string& id) {
  return {id.begin(), id.begin() + static_cast<ptrdiff_t>(std::min(id.size(), Blk::kIdBytes))};
}

}  // namespace

void BlkState::describe(StateVisitor& visitor) {
  visitor.field("capacity", capacity);
  visitor.field("read_only", read_only);
  visitor.field("id", id, Blk::kIdBytes);
}

// ---- set-up

Result<std::unique_ptr<Blk>> Blk::create(DiskOptions options, EventLoop& loop) {
  auto io = open_disk_io(options.file.get(), options.backend, options.on_worker);
  if (!io) return fail_in("disk " + options.id, io);
  return create(std::move(options), std::move(*io), loop);
}

Result<std::unique_ptr<Blk>> Blk::create(DiskOptions options, std::unique_ptr<DiskIo> io,
                                         EventLoop& loop) {
  const auto capacity = judge_file(options);
  if (!capacity) return fail_in("disk " + options.id, capacity);
  return std::unique_ptr<Blk>(new Blk(std::move(options), *capacity, std::move(io), loop));
}

Blk::Blk(DiskOptions options, uint64_t capacity, std::unique_ptr<DiskIo> io, EventLoop& loop)
    : loop_(loop), file_(std::move(options.file)), io_(std::move(io)) {
  state_.capacity = capacity;
  state_.read_only = options.read_only ? 1 : 0;
  state_.id = id_bytes(options.id);
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) free_.push_back(slot);
  loop_.watch(io_->event(), EPOLLIN, [this](uint32_t) {
    const std::scoped_lock guard(lock());
    io_->acknowledge();
    serve();
  });
}

Blk::~Blk() {
  loop_.unwatch(io_->event());
  reset();
}

uint64_t Blk::features() const {
  return kSizeMax | kSegMax | kBlkSize | kFlush | (state_.read_only != 0 ? kReadOnly : 0);
}

std::span<const uint16_t> Blk::queue_sizes() const { return kQueueSizes; }

void Blk::read_config(uint32_t offset, std::span<uint8_t> data) {
  const Config config{.capacity = state_.capacity,
                      .size_max = kMaxSegmentBytes,
                      .seg_max = kMaxSegments,
                      .geometry = 0,
                      .blk_size = kSectorBytes};
  copy_config(std::span(reinterpret_cast<const uint8_t*>(&config), sizeof(config)), offset, data);
}

// ---- the driver's life

void Blk::activate(VirtioTransport& transport, uint64_t features) {
  transport_ = &transport;
  durable_writes_ = (features & kFlush) == 0;  // 5.2.5: then every write is written through
}

void Blk::notify(size_t /*index*/) { serve(); }

void Blk::reset() {
  transport_ = nullptr;
  drain();
}

void Blk::drain() {
  while (!idle()) {
    io_->submit();
    io_->wait();
    reap();
  }
  if (transport_ != nullptr) transport_->queue_done(0);
}

// ---- requests

// One round: everything that a notification or a completion can have changed.
void Blk::serve() {
  reap();
  if (transport_ == nullptr) return;
  take_chains();
  io_->submit();
  reap();  // what the host answered from its page cache is done already
  io_->submit();
  transport_->queue_done(0);
}

void Blk::take_chains() {
  Queue& queue = transport_->queue(0);
  for (int taken = 0; taken < kChainsPerRound; ++taken) {
    // The next completion brings us back.
    if (free_.empty() || bytes_under_way_ >= kMaxBytesUnderWay) return;
    if (auto chain = queue.next_chain()) {
      begin(*chain);
    } else if (!queue.enable_notifications()) {
      return;
    }
  }
  serve_again_soon();
}

// A guest that makes requests faster than we refuse them must not keep the loop from the others.
void Blk::serve_again_soon() {
  if (std::exchange(serve_posted_, true)) return;
  loop_.post([this] {
    const std::scoped_lock guard(lock());
    serve_posted_ = false;
    serve();
  });
}

void Blk::begin(const Chain& chain) {
  auto request = BlkRequest::parse(chain);
  if (!request) return transport_->queue(0).mark_broken();
  const auto refuse = [&](BlkStatus status) { answer(request->head, request->status, status, 0); };
  const bool moves_data = request->type == BlkType::kIn || request->type == BlkType::kOut;
  if (moves_data &&
      (!request->fits(state_.capacity) || request->data.size() > DiskRequest::kMaxParts ||
       request->data_bytes > kMaxRequestBytes)) {
    return refuse(BlkStatus::kIoError);
  }
  switch (request->type) {
    case BlkType::kIn:
      return start(std::move(*request), DiskRequest::Kind::kRead);
    case BlkType::kOut:
      if (state_.read_only != 0) return refuse(BlkStatus::kIoError);
      return start(std::move(*request), DiskRequest::Kind::kWrite);
    case BlkType::kFlush:
      return start(std::move(*request), DiskRequest::Kind::kFlush);
    case BlkType::kGetId:
      return answer(request->head, request->status, BlkStatus::kOk, write_id(*request));
  }
  refuse(BlkStatus::kUnsupported);
}

void Blk::start(BlkRequest request, DiskRequest::Kind kind) {
  const bool flush = kind == DiskRequest::Kind::kFlush;
  if (flush ? state_.read_only != 0 : request.data_bytes == 0) {
    return answer(request.head, request.status, BlkStatus::kOk, 0);  // nothing to do
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.head = request.head;
  slot.status = request.status;
  slot.data_written =
      kind == DiskRequest::Kind::kRead ? static_cast<uint32_t>(request.data_bytes) : 0;
  slot.bytes = flush ? 0 : request.data_bytes;
  bytes_under_way_ += slot.bytes;
  slot.io = DiskRequest{.kind = kind,
                        .durable = durable_writes_,
                        .offset = flush ? 0 : request.sector * kSectorBytes,
                        .parts = std::move(request.data)};
  io_->start(index, slot.io);
}

uint32_t Blk::write_id(const BlkRequest& request) {
  std::array<uint8_t, kIdBytes> id{};  // padded with zeros, without an end when it is full
  std::ranges::copy(state_.id, id.begin());
  uint32_t written = 0;
  for (const iovec& part : request.data) {
    const auto piece = std::min<size_t>(part.iov_len, kIdBytes - written);
    std::memcpy(part.iov_base, id.data() + written, piece);
    written += static_cast<uint32_t>(piece);
  }
  return written;
}

// ---- completions

void Blk::reap() {
  while (auto done = io_->next_completion()) complete(*done);
}

void Blk::complete(const DiskCompletion& done) {
  Slot& slot = slots_[done.slot];
  if (transport_ != nullptr) {
    if (!slot.io.advance(done.result)) return io_->start(done.slot, slot.io);
    const bool failed = slot.io.error != 0;
    answer(slot.head, slot.status, failed ? BlkStatus::kIoError : BlkStatus::kOk,
           failed ? 0 : slot.data_written);
  }
  bytes_under_way_ -= slot.bytes;
  free_.push_back(done.slot);
}

void Blk::answer(uint16_t head, uint8_t* status, BlkStatus value, uint32_t data_written) {
  *status = static_cast<uint8_t>(value);
  transport_->queue(0).put_used(head, data_written + 1);
}

// ---- state

std::vector<uint8_t> Blk::saved_state() {
  BlkState state = save();
  return save_state(state);
}

Result<void> Blk::restore_state(std::span<const uint8_t> saved) {
  auto state = load_state<BlkState>(saved);
  if (!state) return fail_in("disk", state);
  return restore(*state);
}

BlkState Blk::save() {
  const std::scoped_lock guard(lock());
  return state_;
}

Result<void> Blk::restore(const BlkState& state) {
  const std::scoped_lock guard(lock());
  if (state.capacity != state_.capacity || state.read_only != state_.read_only) {
    return fail(text("disk: saved with %lu sectors%s, this one has %lu%s", state.capacity,
                     state.read_only != 0 ? " read-only" : "", state_.capacity,
                     state_.read_only != 0 ? " read-only" : ""));
  }
  state_.id = state.id;
  return {};
}

}  // namespace thimble
