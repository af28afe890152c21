// Disk I/O by io_uring: one submission call per batch, completions through an eventfd.
//
// The ring starts disabled and is restricted to vectored reads, writes and fsync on the one file
// registered with it before it is enabled: seccomp does not see what io_uring does, so the ring
// itself must not be of use to a VMM that a guest has taken over. Guest memory is not registered,
// since pinned pages could not be shared between clones.
#pragma once

#include <liburing.h>

#include "devices/fd.h"
#include "devices/virtio/disk_io.h"

namespace thimble {

class UringDisk final : public DiskIo {
 public:
  // `file` is not owned. The error says which step the host refused.
  static Result<std::unique_ptr<DiskIo>> open(int file);
  ~UringDisk() override;
  UringDisk(const UringDisk&) = delete;
  UringDisk& operator=(const UringDisk&) = delete;

  [[nodiscard]] std::string name() const override { return "io_uring"; }
  void start(uint32_t slot, DiskRequest& request) override;
  void submit() override;
  [[nodiscard]] int event() const override { return event_.get(); }
  void acknowledge() override;
  std::optional<DiskCompletion> next_completion() override;
  void wait() override;

 private:
  UringDisk() = default;
  Result<void> set_up(int file);
  int restrict_operations();

  Fd event_;
  io_uring ring_{};
  bool ring_open_ = false;
};

}  // namespace thimble
