// See uring_disk.h.
#include "devices/virtio/uring_disk.h"

#include <sys/eventfd.h>
#include <time.h>

#include <array>

namespace thimble {

Result<std::unique_ptr<DiskIo>> UringDisk::open(int file) {
  std::unique_ptr<UringDisk> disk(new UringDisk);
  if (auto done = disk->set_up(file); !done) return std::unexpected(done.error());
  return disk;
}

UringDisk::~UringDisk() {
  if (ring_open_) io_uring_queue_exit(&ring_);
}

Result<void> UringDisk::set_up(int file) {
  event_.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event_) return fail_errno("eventfd");
  // As many entries as requests: a free slot always finds room in the ring.
  const int made = io_uring_queue_init(kMaxInFlight, &ring_, IORING_SETUP_R_DISABLED);
  if (made < 0) return fail_errno("io_uring_setup", -made);
  ring_open_ = true;
  int failed = io_uring_register_files(&ring_, &file, 1);
  if (failed != 0) return fail_errno("io_uring: register the file", -failed);
  failed = io_uring_register_eventfd(&ring_, event_.get());
  if (failed != 0) return fail_errno("io_uring: register the eventfd", -failed);
  failed = restrict_operations();
  if (failed != 0) return fail_errno("io_uring: restrict", -failed);
  failed = io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS,
                             nullptr, 0);
  if (failed != 0) return fail_errno("io_uring: enable", -failed);
  return {};
}

// liburing's own names for this and for enabling are missing from Debian 12's shared library.
int UringDisk::restrict_operations() {
  std::array<io_uring_restriction, 4> allowed{};
  allowed[0].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[0].sqe_op = IORING_OP_READV;
  allowed[1].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[1].sqe_op = IORING_OP_WRITEV;
  allowed[2].opcode = IORING_RESTRICTION_SQE_OP;
  allowed[2].sqe_op = IORING_OP_FSYNC;
  allowed[3].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
  allowed[3].sqe_flags = IOSQE_FIXED_FILE;
  return io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_RESTRICTIONS,
                           allowed.data(), allowed.size());
}

void UringDisk::start(uint32_t slot, DiskRequest& request) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);  // never full: see set_up()
  constexpr int kFile = 0;                       // index of the registered file
  const auto parts = static_cast<unsigned>(request.parts.size());
  switch (request.kind) {
    case DiskRequest::Kind::kRead:
      io_uring_prep_readv(sqe, kFile, request.parts.data(), parts, request.offset);
      break;
    case DiskRequest::Kind::kWrite:
      io_uring_prep_writev2(sqe, kFile, request.parts.data(), parts, request.offset,
                            request.durable ? RWF_DSYNC : 0);
      break;
    case DiskRequest::Kind::kFlush:
      io_uring_prep_fsync(sqe, kFile, IORING_FSYNC_DATASYNC);
      break;
  }
  sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data64(sqe, slot);
}

// The kernel may refuse for lack of memory. What it did not take stays in the ring, so it is enough
// to be called again.
void UringDisk::submit() {
  if (io_uring_submit(&ring_) < 0) eventfd_write(event_.get(), 1);
}

void UringDisk::acknowledge() {
  eventfd_t count = 0;
  eventfd_read(event_.get(), &count);
}

std::optional<DiskCompletion> UringDisk::next_completion() {
  io_uring_cqe* cqe = nullptr;
  if (io_uring_peek_cqe(&ring_, &cqe) != 0) return std::nullopt;
  const DiskCompletion done{static_cast<uint32_t>(io_uring_cqe_get_data64(cqe)), cqe->res};
  io_uring_cqe_seen(&ring_, cqe);
  return done;
}

void UringDisk::wait() {
  const timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
  while (io_uring_submit_and_wait(&ring_, 1) < 0) nanosleep(&pause, nullptr);
}

}  // namespace thimble
