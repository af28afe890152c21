// The descriptors of one round of poll(2), collected anew each round by those who wait for them.
#pragma once

#include <poll.h>

namespace thimble::init {

class PollSet {
 public:
  static constexpr int kNone = -1;

  // The index to ask `at` with after the wait. `capacity` covers everything init ever waits for.
  int add(int fd, int events) {
    if (count_ == kCapacity) return kNone;
    entries_[count_] = {fd, static_cast<short>(events), 0};
    return count_++;
  }

  // Milliseconds, -1 for ever. Interrupted waits and errors look like a timeout.
  void wait(int timeout_ms) {
    if (poll(entries_, static_cast<nfds_t>(count_), timeout_ms) < 0) {
      for (int i = 0; i < count_; ++i) entries_[i].revents = 0;
    }
  }

  // What happened on an entry; nothing for kNone.
  [[nodiscard]] int at(int index) const { return index == kNone ? 0 : entries_[index].revents; }

 private:
  static constexpr int kCapacity = 72;
  pollfd entries_[kCapacity];
  int count_ = 0;
};

}  // namespace thimble::init
