// Disk I/O by one worker thread that does a request after the other with preadv and pwritev, for
// hosts that forbid io_uring.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "devices/fd.h"
#include "devices/virtio/disk_io.h"

namespace thimble {

class ThreadDisk final : public DiskIo {
 public:
  // `file` is not owned; `reason` says why it is not io_uring.
  static Result<std::unique_ptr<DiskIo>> open(int file, std::string reason,
                                              const OnWorker& on_worker = nullptr);
  ~ThreadDisk() override;  // finishes what was submitted
  ThreadDisk(const ThreadDisk&) = delete;
  ThreadDisk& operator=(const ThreadDisk&) = delete;

  [[nodiscard]] std::string name() const override { return "worker thread (" + reason_ + ")"; }
  void start(uint32_t slot, DiskRequest& request) override;
  void submit() override;
  [[nodiscard]] int event() const override { return event_.get(); }
  void acknowledge() override;
  std::optional<DiskCompletion> next_completion() override;
  void wait() override;

 private:
  struct Job {
    uint32_t slot;
    DiskRequest* request;
  };

  ThreadDisk(int file, std::string reason) : file_(file), reason_(std::move(reason)) {}
  Result<void> start_worker(const OnWorker& on_worker);
  void work();
  [[nodiscard]] int64_t perform(const DiskRequest& request) const;

  const int file_;
  const std::string reason_;
  Fd event_;
  std::vector<Job> started_;  // not yet submitted

  std::mutex lock_;  // over what follows; never held during I/O
  std::condition_variable changed_;
  std::deque<Job> submitted_;
  std::deque<DiskCompletion> completed_;
  bool stopping_ = false;

  std::thread worker_;
};

}  // namespace thimble
