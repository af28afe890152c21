// See thread_disk.h.
#include "devices/virtio/thread_disk.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <future>
#include <system_error>

namespace thimble {

Result<std::unique_ptr<DiskIo>> ThreadDisk::open(int file, std::string reason,
                                                 const OnWorker& on_worker) {
  std::unique_ptr<ThreadDisk> disk(new ThreadDisk(file, std::move(reason)));
  disk->event_.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!disk->event_) return fail_errno("eventfd");
  if (auto done = disk->start_worker(on_worker); !done) return std::unexpected(done.error());
  return disk;
}

// A thread inherits its maker's signal mask. Signals to the process are for other threads.
Result<void> ThreadDisk::start_worker(const OnWorker& on_worker) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  std::promise<Result<void>> prepared;
  try {
    worker_ = std::thread([this, &prepared, &on_worker] {
      auto ready = on_worker ? on_worker() : Result<void>();
      const bool go_on = ready.has_value();
      prepared.set_value(std::move(ready));  // what was captured is gone after this
      if (go_on) work();
    });
    pthread_setname_np(worker_.native_handle(), "disk");
  } catch (const std::system_error& refused) {
    error = refused.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return fail_errno("start the disk's worker thread", error);
  return prepared.get_future().get();
}

ThreadDisk::~ThreadDisk() {
  if (!worker_.joinable()) return;
  {
    const std::scoped_lock guard(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void ThreadDisk::start(uint32_t slot, DiskRequest& request) {
  started_.push_back({slot, &request});
}

void ThreadDisk::submit() {
  if (started_.empty()) return;
  {
    const std::scoped_lock guard(lock_);
    submitted_.insert(submitted_.end(), started_.begin(), started_.end());
  }
  started_.clear();
  changed_.notify_all();
}

void ThreadDisk::acknowledge() {
  eventfd_t count = 0;
  eventfd_read(event_.get(), &count);
}

std::optional<DiskCompletion> ThreadDisk::next_completion() {
  const std::scoped_lock guard(lock_);
  if (completed_.empty()) return std::nullopt;
  const DiskCompletion done = completed_.front();
  completed_.pop_front();
  return done;
}

void ThreadDisk::wait() {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [&] { return !completed_.empty(); });
}

void ThreadDisk::work() {
  std::unique_lock guard(lock_);
  while (true) {
    changed_.wait(guard, [&] { return stopping_ || !submitted_.empty(); });
    if (submitted_.empty()) return;
    const Job job = submitted_.front();
    submitted_.pop_front();
    guard.unlock();
    const int64_t result = perform(*job.request);
    guard.lock();
    completed_.push_back({job.slot, result});
    changed_.notify_all();
    eventfd_write(event_.get(), 1);
  }
}

int64_t ThreadDisk::perform(const DiskRequest& request) const {
  const auto parts = static_cast<int>(request.parts.size());
  const auto offset = static_cast<off_t>(request.offset);
  int64_t result = 0;
  switch (request.kind) {
    case DiskRequest::Kind::kRead:
      result = preadv(file_, request.parts.data(), parts, offset);
      break;
    case DiskRequest::Kind::kWrite:
      result =
          pwritev2(file_, request.parts.data(), parts, offset, request.durable ? RWF_DSYNC : 0);
      break;
    case DiskRequest::Kind::kFlush:
      result = fdatasync(file_);
      break;
  }
  return result < 0 ? -errno : result;
}

}  // namespace thimble
