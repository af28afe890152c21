// The threads of a VM process that receive from its parent, each confined before it serves.
#pragma once

#include <functional>
#include <future>
#include <thread>
#include <vector>

#include "pool/vm/thread_filters.h"

namespace thimble {

class Messengers {
 public:
  // `filter` may be null: the host has none. It outlives the threads.
  explicit Messengers(const ThreadFilters* filter) : filter_(filter) {}

  void start(std::function<void()> serve);
  void wait_until_confined();
  // The one that was started last.
  void join_last();

 private:
  const ThreadFilters* filter_;
  std::vector<std::thread> threads_;
  std::vector<std::future<void>> confined_;
};

}  // namespace thimble
