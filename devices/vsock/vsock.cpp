// The vsock device: its connections, their sockets and timers. Packets are in vsock_queues.cpp.
#include "devices/vsock/vsock.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace thimble {

namespace {

constexpr uint64_t kFeatureStream = 1ULL << 0;  // virtio 1.2, 5.10.3

// Linux fills the whole rx queue with pages: 128 of them are half a MiB of the guest's memory. Its
// driver keeps 8 buffers in the event queue.
constexpr std::array<uint16_t, 3> kQueueSizes = {128, 128, 8};

uint64_t table_key(PortPair ports) { return static_cast<uint64_t>(ports.host) << 32 | ports.guest; }

Result<void> check_listener(int fd) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) {
    return fail_errno("use the vsock listener: not a socket");
  }
  if (listening == 0) return fail("use the vsock listener: call listen() on it first");
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno("make the vsock listener nonblocking");
  }
  return {};
}

}  // namespace

void VsockState::describe(StateVisitor& visitor) {
  visitor.field("guest_cid", guest_cid);
  visitor.field("next_host_port", next_host_port);
}

VsockDevice::VsockDevice(uint64_t guest_cid, EventLoop& loop, VsockLimits limits)
    : loop_(loop), limits_(limits), guest_cid_(guest_cid) {}

VsockDevice::~VsockDevice() {
  host_listener_.reset();
  while (!entries_.empty()) remove(*entries_.begin()->first);
}

// ---- set-up and state

void VsockDevice::connect(uint32_t guest_port, Fd stream) {
  const std::scoped_lock guard(lock());
  join(guest_port, std::move(stream), false);
}

void VsockDevice::listen(uint32_t host_port, Accept accept) {
  const std::scoped_lock guard(lock());
  listeners_[host_port] = std::move(accept);
}

void VsockDevice::set_connector(Connector connector) {
  const std::scoped_lock guard(lock());
  connector_ = std::move(connector);
}

void VsockDevice::set_opener(Opener opener) {
  const std::scoped_lock guard(lock());
  opener_ = std::move(opener);
}

void VsockDevice::opened(uint32_t host_port, Fd stream) {
  const std::scoped_lock guard(lock());
  if (unanswered_ > 0) --unanswered_;
  const auto request = std::ranges::find(waiting_, host_port, &VsockHeader::dst_port);
  if (request == waiting_.end()) return;  // it gave up meanwhile; closes the stream
  const VsockHeader packet = *request;
  waiting_.erase(request);
  // The host may have opened a stream of the same two ports meanwhile.
  const bool taken = find({.host = packet.dst_port, .guest = packet.src_port}) != nullptr;
  if (!stream || taken || entries_.size() >= limits_.max_connections) {
    refuse(packet);
  } else {
    add(Connection(packet, std::move(stream), limits_.window));
  }
  work_soon();
}

Result<void> VsockDevice::serve(Fd listener) {
  if (auto checked = check_listener(listener.get()); !checked) return checked;
  host_listener_ = std::make_unique<HostListener>(std::move(listener), loop_, limits_.host_clients,
                                                  [this](uint32_t port, Fd stream) {
                                                    const std::scoped_lock guard(lock());
                                                    join(port, std::move(stream), true);
                                                  });
  return {};
}

std::vector<uint8_t> VsockDevice::saved_state() {
  VsockState state = save();
  return save_state(state);
}

Result<void> VsockDevice::restore_state(std::span<const uint8_t> saved) {
  auto state = load_state<VsockState>(saved);
  if (!state) return fail_in("vsock", state);
  return restore(*state);
}

VsockState VsockDevice::save() {
  const std::scoped_lock guard(lock());
  return {.guest_cid = guest_cid_, .next_host_port = next_host_port_};
}

Result<void> VsockDevice::restore(const VsockState& state) {
  const bool cid_fits = state.guest_cid >= kFirstGuestCid && state.guest_cid < UINT32_MAX;
  const bool port_fits =
      state.next_host_port >= kFirstHostPort && state.next_host_port <= kLastHostPort;
  if (!cid_fits) return fail("restore vsock: the saved guest CID is not one a guest can have");
  if (!port_fits) return fail("restore vsock: the saved port is not one the host can have");
  const std::scoped_lock guard(lock());
  guest_cid_ = state.guest_cid;
  next_host_port_ = state.next_host_port;
  restored_ = true;
  return {};
}

size_t VsockDevice::connections() {
  const std::scoped_lock guard(lock());
  return entries_.size();
}

// ---- the driver

uint64_t VsockDevice::features() const { return kFeatureStream; }

std::span<const uint16_t> VsockDevice::queue_sizes() const { return kQueueSizes; }

void VsockDevice::read_config(uint32_t offset, std::span<uint8_t> data) {
  std::array<uint8_t, sizeof(guest_cid_)> config{};
  std::memcpy(config.data(), &guest_cid_, sizeof(guest_cid_));
  if (offset >= config.size()) return;
  const auto rest = std::span(config).subspan(offset);
  std::copy_n(rest.begin(), std::min(rest.size(), data.size()), data.begin());
}

// Chains may wait in the tx queue already, with their notification long past (a restore).
void VsockDevice::activate(VirtioTransport& transport, uint64_t /*features*/) {
  transport_ = &transport;
  reset_event_ = std::exchange(restored_, false) ? ResetEvent::kDue : ResetEvent::kNone;
  work_later();
}

void VsockDevice::notify(size_t /*index*/) { work_soon(); }

// Requests that the guest never saw stay: every driver begins with a reset. So does the news of a
// restore, since the transport's restore() begins with one too.
void VsockDevice::reset() {
  transport_ = nullptr;
  reset_event_ = ResetEvent::kNone;
  resets_.clear();
  waiting_.clear();
  for (auto& [entry, owned] : entries_) {
    if (!entry->connection.unborn()) entry->connection.forgotten_by_guest();
  }
  settle_all_due_ = true;
  work_later();
}

// ---- connections

void VsockDevice::join(uint32_t guest_port, Fd stream, bool say_ok) {
  if (entries_.size() >= limits_.max_connections) return;  // closes the stream
  const PortPair ports{.host = free_host_port(guest_port), .guest = guest_port};
  add(Connection(ports, std::move(stream), limits_.window, say_ok));
  work_soon();
}

// Ends because there are far fewer connections than ports.
uint32_t VsockDevice::free_host_port(uint32_t guest_port) {
  for (;;) {
    const uint32_t port = next_host_port_;
    next_host_port_ = port == kLastHostPort ? kFirstHostPort : port + 1;
    if (find({.host = port, .guest = guest_port}) == nullptr) return port;
  }
}

VsockDevice::Entry* VsockDevice::find(PortPair ports) {
  const auto found = table_.find(table_key(ports));
  return found != table_.end() ? found->second : nullptr;
}

void VsockDevice::add(Connection connection) {
  auto owned = std::make_unique<Entry>(std::move(connection));
  Entry& entry = *owned;
  table_[table_key(entry.connection.ports())] = &entry;
  entries_.emplace(&entry, std::move(owned));
  settle(entry);
}

// After anything happened to a connection: draws the conclusions. The entry may be gone afterwards.
void VsockDevice::settle(Entry& entry) {
  const PortPair ports = entry.connection.ports();
  switch (entry.connection.fate()) {
    case Connection::Fate::kReset:
      queue_reset({.src_cid = kHostCid,
                   .dst_cid = guest_cid_,
                   .src_port = ports.host,
                   .dst_port = ports.guest});
      return remove(entry);
    case Connection::Fate::kDrop:
      return remove(entry);
    case Connection::Fate::kDrain:
      if (find(ports) == &entry) table_.erase(table_key(ports));
      update_lines(entry, false);
      break;
    case Connection::Fate::kKeep:
      update_lines(entry, true);
      break;
  }
  update_watch(entry);
  update_timer(entry);
}

void VsockDevice::settle_all() {
  std::vector<Entry*> all;
  all.reserve(entries_.size());
  for (auto& [entry, owned] : entries_) all.push_back(entry);
  for (Entry* entry : all) settle(*entry);
}

void VsockDevice::remove(Entry& entry) {
  const PortPair ports = entry.connection.ports();
  if (find(ports) == &entry) table_.erase(table_key(ports));
  update_lines(entry, false);
  if (entry.watched) loop_.unwatch(entry.connection.stream());
  if (entry.timed != Connection::Wait::kNothing) loop_.cancel(entry.timer);
  entries_.erase(&entry);
}

void VsockDevice::update_lines(Entry& entry, bool in_table) {
  const auto stand = [&entry](std::list<Entry*>& line, auto& place, bool wanted) {
    if (wanted == place.has_value()) return;
    if (wanted) {
      place = line.insert(line.end(), &entry);
    } else {
      line.erase(*place);
      place.reset();
    }
  };
  stand(control_line_, entry.control_place, in_table && entry.connection.has_control());
  stand(data_line_, entry.data_place, in_table && entry.connection.has_data());
}

void VsockDevice::update_watch(Entry& entry) {
  const auto wanted = entry.connection.interest();
  if (wanted == entry.watched) return;
  const int fd = entry.connection.stream();
  if (!wanted) {
    loop_.unwatch(fd);
  } else if (entry.watched) {
    loop_.change(fd, *wanted);
  } else {
    loop_.watch(fd, *wanted, [this, &entry](uint32_t events) { socket_ready(entry, events); });
  }
  entry.watched = wanted;
}

void VsockDevice::update_timer(Entry& entry) {
  const Connection::Wait wait = entry.connection.waits_for();
  if (wait == entry.timed) return;
  if (entry.timed != Connection::Wait::kNothing) loop_.cancel(entry.timer);
  entry.timed = wait;
  if (wait == Connection::Wait::kNothing) return;
  const bool closing = wait == Connection::Wait::kReset;
  entry.timer = loop_.after(closing ? limits_.close_limit : limits_.connect_limit, [this, &entry] {
    const std::scoped_lock guard(lock());
    entry.timed = Connection::Wait::kNothing;
    entry.connection.give_up();
    settle(entry);
    work();
  });
}

void VsockDevice::socket_ready(Entry& entry, uint32_t events) {
  const std::scoped_lock guard(lock());
  entry.connection.socket_ready(events);
  settle(entry);
  work();
}

// ---- rounds of work

// On the loop's thread.
void VsockDevice::work() {
  if (std::exchange(settle_all_due_, false)) settle_all();
  if (transport_ == nullptr) return;
  bool more = tell_reset();
  more |= take_packets();
  more |= give_packets();
  if (more) work_later();
}

void VsockDevice::work_soon() {
  if (std::this_thread::get_id() == loop_thread_) {
    work();
  } else {
    work_later();
  }
}

void VsockDevice::work_later() {
  if (std::exchange(work_posted_, true)) return;
  loop_.post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    const std::scoped_lock guard(lock());
    loop_thread_ = std::this_thread::get_id();
    work_posted_ = false;
    work();
  });
}

}  // namespace thimble
