// See messengers.h.
#include "pool/vm/messengers.h"

#include <memory>

namespace thimble {

void Messengers::start(std::function<void()> serve) {
  auto confined = std::make_shared<std::promise<void>>();
  confined_.push_back(confined->get_future());
  threads_.emplace_back([filter = filter_, confined, serve = std::move(serve)] {
    // The same call on the same program just worked, or will be refused on the vCPUs too.
    const bool fine = filter == nullptr || filter->confine(FilteredThread::kMessenger);
    confined->set_value();
    if (fine) serve();
  });
}

void Messengers::wait_until_confined() {
  for (std::future<void>& one : confined_) one.wait();
}

void Messengers::join_last() {
  threads_.back().join();
  threads_.pop_back();
}

}  // namespace thimble
