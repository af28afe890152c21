// A driver's side of the devices, for unit tests: guest memory with a hole, a virtqueue written as
// a driver writes it (honestly by default, any way a test wants it otherwise), an interrupt line
// that counts, a transport without registers, and an event loop turned by hand.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/event_loop.h"
#include "devices/guest_memory.h"
#include "devices/irq_line.h"
#include "devices/virtio/device.h"
#include "devices/virtio/queue.h"

namespace thimble::fake {

class Irq final : public IrqLine {
 public:
  void pulse() override { ++pulses; }
  int pulses = 0;
};

// 1 MiB at 0 and 256 KiB above a hole, as PCs have below 4 GiB. Page-aligned like a real mapping.
class Guest {
 public:
  static constexpr uint64_t kLowSize = 1 << 20;
  static constexpr Gpa kHighBase = 1ULL << 32;
  static constexpr uint64_t kHighSize = 256 << 10;

  Guest()
      : bytes_(kLowSize + kHighSize + kPage),
        memory({{0, kLowSize, start()}, {kHighBase, kHighSize, start() + kLowSize}}) {}
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Fresh, zeroed, aligned bytes in the low range; nothing is ever freed. The first page stays
  // free.
  Gpa allocate(uint64_t size, uint64_t alignment = 16) {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    const Gpa gpa = next_;
    next_ += size;
    if (next_ > kLowSize) std::abort();  // the test needs more memory than this guest has
    return gpa;
  }
  Gpa put(std::span<const uint8_t> data) {
    const Gpa gpa = allocate(std::max<size_t>(data.size(), 1));
    std::copy(data.begin(), data.end(), memory.at(gpa, data.size()));
    return gpa;
  }
  template <class T>
  Gpa put_value(const T& value) {
    return put(std::span(reinterpret_cast<const uint8_t*>(&value), sizeof(T)));
  }
  [[nodiscard]] std::vector<uint8_t> bytes(Gpa gpa, uint64_t size) const {
    const uint8_t* from = memory.at(gpa, size);
    return from == nullptr ? std::vector<uint8_t>{} : std::vector<uint8_t>(from, from + size);
  }

 private:
  static constexpr uint64_t kPage = 4096;
  uint8_t* start() {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
    return bytes_.data() + (kPage - address % kPage) % kPage;
  }
  std::vector<uint8_t> bytes_;
  Gpa next_ = kPage;

 public:
  const GuestMemory memory;
};

// The driver's side of one virtqueue.
class DriverQueue {
 public:
  static constexpr uint16_t kNext = 1;
  static constexpr uint16_t kWrite = 2;
  static constexpr uint16_t kIndirect = 4;

  struct Descriptor {
    uint64_t address = 0;
    uint32_t length = 0;
    uint16_t flags = 0;
    uint16_t next = 0;
  };
  struct Part {
    Gpa address = 0;
    uint32_t length = 0;
    bool device_writes = false;
  };
  struct Used {
    uint32_t id = 0;
    uint32_t length = 0;
  };

  DriverQueue(Guest& in, uint16_t entries)
      : guest(in),
        size(entries),
        descriptors(in.allocate(entries * sizeof(Descriptor), 16)),
        available(in.allocate(6 + 2 * entries, 2)),
        used(in.allocate(6 + 8 * entries, 4)) {}

  // Tells the device's queue where the areas are, as the registers would.
  void enable(Queue& queue, bool event_idx = false) const {
    QueueState& state = queue.state();
    state.size = size;
    state.descriptors = descriptors;
    state.available = available;
    state.used = used;
    state.event_idx = event_idx ? 1 : 0;
    queue.enable();
  }

  // Writes a chain into free descriptors, makes it available and returns its head. Descriptors are
  // used round robin, so a test keeps fewer than `size` in flight.
  uint16_t add(std::span<const Part> parts) {
    const uint16_t head = next_descriptor_;
    for (size_t i = 0; i < parts.size(); ++i) {
      const bool more = i + 1 < parts.size();
      const auto flags =
          static_cast<uint16_t>((more ? kNext : 0) | (parts[i].device_writes ? kWrite : 0));
      const uint16_t at = next_descriptor_;
      next_descriptor_ = static_cast<uint16_t>((at + 1) % size);
      set(at, {parts[i].address, parts[i].length, flags, next_descriptor_});
    }
    make_available(head);
    return head;
  }
  uint16_t add(std::initializer_list<Part> parts) {
    return add(std::span<const Part>(parts.begin(), parts.size()));
  }

  void set(uint16_t index, const Descriptor& descriptor) const {
    (void)guest.memory.store(descriptors + index * sizeof(Descriptor), descriptor);
  }
  void make_available(uint16_t head) {
    (void)guest.memory.store(available + 4 + (available_index_ % size) * 2, head);
    set_available_index(static_cast<uint16_t>(available_index_ + 1));
  }
  void set_available_index(uint16_t index) {
    available_index_ = index;
    (void)guest.memory.store(available + 2, index);
  }
  void suppress_interrupts(bool suppress) const {
    (void)guest.memory.store<uint16_t>(available, suppress ? 1 : 0);
  }
  void set_used_event(uint16_t index) const {
    (void)guest.memory.store(available + 4 + 2 * size, index);
  }
  [[nodiscard]] uint16_t available_event() const {
    return *guest.memory.load<uint16_t>(used + 4 + 8 * size);
  }
  [[nodiscard]] uint16_t used_index() const { return *guest.memory.load<uint16_t>(used + 2); }

  // The next entry that the device gave back and this side has not seen yet.
  std::optional<Used> take_used() {
    if (used_index() == seen_) return std::nullopt;
    const auto entry = guest.memory.load<Used>(used + 4 + (seen_ % size) * 8);
    ++seen_;
    return entry;
  }

  Guest& guest;
  const uint16_t size;
  const Gpa descriptors;
  const Gpa available;
  const Gpa used;

 private:
  uint16_t next_descriptor_ = 0;
  uint16_t available_index_ = 0;
  uint16_t seen_ = 0;
};

// What a device sees of a transport, without registers: queues that are ready, and counters.
class Transport final : public VirtioTransport {
 public:
  Transport(Guest& guest, std::span<const uint16_t> queue_sizes) {
    for (const uint16_t size : queue_sizes) {
      queues.emplace_back(guest.memory, size);
      drivers.emplace_back(guest, size);
      drivers.back().enable(queues.back());
    }
  }
  Queue& queue(size_t index) override { return queues[index]; }
  void queue_done(size_t index) override {
    if (queues[index].broken()) needs_reset = true;
    if (queues[index].should_interrupt()) ++interrupts;
  }
  void config_changed() override { ++config_changes; }

  std::vector<Queue> queues;
  std::vector<DriverQueue> drivers;
  int interrupts = 0;
  int config_changes = 0;
  bool needs_reset = false;
};

// A real epoll loop without a thread of its own: a test turns it.
class Loop final : public EventLoop {
 public:
  Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Loop() override { ::close(epoll_); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void watch(int fd, uint32_t events, Handler handler) override {
    handlers_[fd] = std::move(handler);
    control(EPOLL_CTL_ADD, fd, events);
  }
  void change(int fd, uint32_t events) override { control(EPOLL_CTL_MOD, fd, events); }
  void unwatch(int fd) override {
    handlers_.erase(fd);
    control(EPOLL_CTL_DEL, fd, 0);
  }
  TimerId after(std::chrono::nanoseconds delay, Callback callback) override {
    timers_[++last_timer_] = {Clock::now() + delay, std::move(callback)};
    return last_timer_;
  }
  void cancel(TimerId timer) override { timers_.erase(timer); }
  void post(Callback callback) override {
    const std::scoped_lock guard(posts_lock_);
    posts_.push_back(std::move(callback));
  }

  // One round: posted callbacks, due timers, ready descriptors. Returns how many were called.
  int turn(std::chrono::milliseconds wait = std::chrono::milliseconds(0)) {
    int calls = run_posts() + run_timers();
    epoll_event events[16];
    const int ready =
        epoll_wait(epoll_, events, 16, calls > 0 ? 0 : static_cast<int>(wait.count()));
    for (int i = 0; i < ready; ++i) {
      const auto found = handlers_.find(events[i].data.fd);
      if (found == handlers_.end()) continue;  // unwatched by an earlier handler of this round
      const Handler handler = found->second;
      handler(events[i].events);
      ++calls;
    }
    return calls;
  }
  // Turns until `done` holds; false after the time is up.
  bool turn_until(const std::function<bool()>& done,
                  std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = Clock::now() + limit;
    while (!done()) {
      if (Clock::now() > end) return false;
      turn(std::chrono::milliseconds(5));
    }
    return true;
  }
  // Turns until a round has nothing to do; false when it does not come to rest.
  bool turn_until_idle(int limit = 10000) {
    while (limit-- > 0) {
      if (turn() == 0) return true;
    }
    return false;
  }
  [[nodiscard]] size_t watched() const { return handlers_.size(); }
  [[nodiscard]] size_t timers() const { return timers_.size(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Timer {
    Clock::time_point due;
    Callback callback;
  };

  void control(int operation, int fd, uint32_t events) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }
  int run_posts() {
    std::vector<Callback> posts;
    {
      const std::scoped_lock guard(posts_lock_);
      posts.swap(posts_);
    }
    for (const Callback& callback : posts) callback();
    return static_cast<int>(posts.size());
  }
  int run_timers() {
    std::vector<TimerId> due;
    for (const auto& [id, timer] : timers_) {
      if (timer.due <= Clock::now()) due.push_back(id);
    }
    int calls = 0;
    for (const TimerId id : due) {
      auto timer = timers_.extract(id);
      if (timer.empty()) continue;  // cancelled by an earlier callback of this round
      timer.mapped().callback();
      ++calls;
    }
    return calls;
  }

  int epoll_;
  std::map<int, Handler> handlers_;
  std::map<TimerId, Timer> timers_;
  TimerId last_timer_ = 0;
  std::mutex posts_lock_;
  std::vector<Callback> posts_;
};

}  // namespace thimble::fake
