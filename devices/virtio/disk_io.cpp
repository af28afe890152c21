// What the disk backends have in common: continuing short transfers, and the choice between them.
#include "devices/virtio/disk_io.h"

#include <algorithm>

#include "devices/virtio/thread_disk.h"
#include "devices/virtio/uring_disk.h"

namespace thimble {

bool DiskRequest::advance(int64_t result) {
  if (result == -EINTR || result == -EAGAIN) return false;
  if (result < 0) {
    error = static_cast<int>(-result);
    return true;
  }
  if (kind == Kind::kFlush) return true;
  if (result == 0) {  // the file has become shorter than the disk
    error = EIO;
    return true;
  }
  offset += static_cast<uint64_t>(result);
  auto left = static_cast<size_t>(result);
  auto part = parts.begin();
  while (part != parts.end() && left >= part->iov_len) left -= (part++)->iov_len;
  parts.erase(parts.begin(), part);
  if (parts.empty()) return true;
  parts.front().iov_base = static_cast<uint8_t*>(parts.front().iov_base) + left;
  parts.front().iov_len -= left;
  return false;
}

Result<std::unique_ptr<DiskIo>> open_disk_io(int file, DiskBackend backend,
                                             const OnWorker& on_worker) {
  if (backend == DiskBackend::kThread) return ThreadDisk::open(file, "as asked", on_worker);
  auto uring = UringDisk::open(file);
  if (uring || backend == DiskBackend::kUring) return uring;
  return ThreadDisk::open(file, uring.error().message, on_worker);
}

}  // namespace thimble
