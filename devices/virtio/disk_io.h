// How virtio-blk moves bytes between guest memory and the disk's file without blocking the event
// loop. Two ways: io_uring (uring_disk.cpp), and a worker thread (thread_disk.cpp) where the host
// forbids io_uring.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble {

struct DiskRequest {
  enum class Kind : uint8_t { kRead, kWrite, kFlush };
  static constexpr size_t kMaxParts = 1024;  // what one host call takes (IOV_MAX)

  Kind kind = Kind::kRead;
  bool durable = false;      // kWrite: on stable storage before it completes
  uint64_t offset = 0;       // in the file, bytes
  std::vector<iovec> parts;  // host addresses of guest memory, at most kMaxParts
  int error = 0;             // errno, once over

  // Accounts for what one host call did: `result` is a number of bytes or -errno. True when the
  // request is over; false when the call was short and the rest must be started again.
  bool advance(int64_t result);
};

struct DiskCompletion {
  uint32_t slot = 0;
  int64_t result = 0;  // for DiskRequest::advance()
};

// Calls come with the device's lock held, from the event loop or (wait) from a vCPU thread.
class DiskIo {
 public:
  static constexpr uint32_t kMaxInFlight = 64;

  virtual ~DiskIo() = default;

  // "io_uring", or why it is not.
  [[nodiscard]] virtual std::string name() const = 0;

  // Gets ready to do `request`, which the caller keeps where it is until its completion. At most
  // kMaxInFlight are under way, told apart by `slot`.
  virtual void start(uint32_t slot, DiskRequest& request) = 0;
  // Hands everything that was started to the host, in one call.
  virtual void submit() = 0;

  // Readable when there are completions; acknowledge() before taking them.
  [[nodiscard]] virtual int event() const = 0;
  virtual void acknowledge() = 0;
  virtual std::optional<DiskCompletion> next_completion() = 0;
  // Blocks until there is a completion. Only while something submitted is under way.
  virtual void wait() = 0;
};

// Called on a thread of the backend's own before it does anything; an error refuses the backend.
using OnWorker = std::function<Result<void>()>;

enum class DiskBackend : uint8_t { kAuto, kUring, kThread };

// `file` is not owned. kAuto takes the worker thread when io_uring cannot be had, whatever the
// reason, and keeps the reason in name().
Result<std::unique_ptr<DiskIo>> open_disk_io(int file, DiskBackend backend,
                                             const OnWorker& on_worker = nullptr);

}  // namespace thimble
