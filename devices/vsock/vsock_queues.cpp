// The vsock device: packets out of the tx queue and into the rx queue; vsock.h has the picture.
#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/vsock/vsock.h"

namespace thimble {

namespace {

// Packets moved each way before the event loop gets its turn.
constexpr int kPacketsPerRound = 64;

// The next chain; when there is none the driver is asked to notify of the next one.
std::optional<Chain> next_or_arm(Queue& queue) {
  auto chain = queue.next_chain();
  if (!chain && queue.enable_notifications()) chain = queue.next_chain();
  return chain;
}

// The part [offset, offset + size) of a chain, `size` capped by what there is; returns its size.
uint64_t slice(const std::vector<Buffer>& buffers, uint64_t offset, uint64_t size,
               std::vector<iovec>& pieces) {
  pieces.clear();
  uint64_t covered = 0;
  for (const Buffer& buffer : buffers) {
    const uint64_t skip = std::min<uint64_t>(offset, buffer.size);
    offset -= skip;
    const uint64_t piece = std::min<uint64_t>(buffer.size - skip, size - covered);
    if (piece != 0) pieces.push_back({buffer.data + skip, piece});
    covered += piece;
    if (covered == size) break;
  }
  return covered;
}

}  // namespace

// ---- the event queue

// Tells the driver that all streams are gone, and learns that it has taken note: a driver puts each
// event buffer back after it has dealt with it. To see that, the queue is emptied: the event in the
// first buffer, the others back unused. What then appears comes after the event.
bool VsockDevice::tell_reset() {
  Queue& events = transport_->queue(kEvent);
  if (reset_event_ == ResetEvent::kNone || !events.usable()) return false;
  if (reset_event_ == ResetEvent::kSent) {
    if (events.enable_notifications()) reset_event_ = ResetEvent::kNone;
    return false;
  }
  std::vector<Chain> chains;
  while (chains.size() < events.max_size()) {
    auto chain = next_or_arm(events);
    if (!chain) break;
    chains.push_back(std::move(*chain));
  }
  for (const Chain& chain : chains) {
    uint32_t written = 0;
    if (reset_event_ == ResetEvent::kDue && chain.writable_size() >= sizeof(kEventTransportReset)) {
      const auto* event = reinterpret_cast<const uint8_t*>(&kEventTransportReset);
      written = static_cast<uint32_t>(chain.write(0, {event, sizeof(kEventTransportReset)}));
      reset_event_ = ResetEvent::kSent;
    }
    events.put_used(chain.head, written);
  }
  if (!chains.empty() || events.broken()) transport_->queue_done(kEvent);
  return events.enable_notifications();
}

// ---- from the guest

// Returns whether packets are left for another round.
bool VsockDevice::take_packets() {
  Queue& tx = transport_->queue(kTx);
  if (!tx.usable()) return false;
  bool any = false;
  for (int left = kPacketsPerRound; left > 0; --left) {
    const auto chain = next_or_arm(tx);
    if (!chain) break;
    take_packet(*chain);
    tx.put_used(chain->head, 0);
    any = true;
  }
  if (any || tx.broken()) transport_->queue_done(kTx);
  return tx.has_chains();
}

// A packet in another's name is dropped: there is nobody to answer.
void VsockDevice::take_packet(const Chain& chain) {
  VsockHeader header;
  if (chain.read(0, {reinterpret_cast<uint8_t*>(&header), sizeof(header)}) != sizeof(header))
    return;
  if (header.src_cid != guest_cid_) return;
  if (header.dst_cid != kHostCid || header.type != VsockType::kStream) return refuse(header);

  Entry* entry = find({.host = header.dst_port, .guest = header.src_port});
  const bool known = entry != nullptr && !entry->connection.unborn();
  if (known) return take_for(*entry, header, chain);
  const auto same = [&header](const VsockHeader& request) {
    return request.dst_port == header.dst_port && request.src_port == header.src_port;
  };
  if (const auto waits = std::ranges::find_if(waiting_, same); waits != waiting_.end()) {
    // All that a guest can say to a request that is not answered yet is that it gives up.
    if (header.op != VsockOp::kRequest) waiting_.erase(waits);
    return;
  }
  if (entry == nullptr && header.op == VsockOp::kRequest) return accept(header);
  refuse(header);
}

void VsockDevice::take_for(Entry& entry, const VsockHeader& header, const Chain& chain) {
  Connection& connection = entry.connection;
  if (header.op == VsockOp::kReset) {
    connection.forgotten_by_guest();
  } else if (header.op != VsockOp::kData) {
    connection.receive(header, {});
  } else if (slice(chain.readable, sizeof(header), header.len, pieces_) == header.len) {
    connection.receive(header, pieces_);
  } else {
    connection.give_up();
  }
  settle(entry);
}

void VsockDevice::accept(const VsockHeader& request) {
  if (entries_.size() >= limits_.max_connections) return refuse(request);
  if (opener_ && !listeners_.contains(request.dst_port)) return wait_for_opener(request);
  Fd stream = open_host_stream(request.dst_port);
  if (!stream) return refuse(request);
  add(Connection(request, std::move(stream), limits_.window));
}

void VsockDevice::wait_for_opener(const VsockHeader& request) {
  if (unanswered_ >= kMaxWaiting) return refuse(request);
  ++unanswered_;
  waiting_.push_back(request);
  opener_(request.dst_port);
}

Fd VsockDevice::open_host_stream(uint32_t port) {
  if (const auto found = listeners_.find(port); found != listeners_.end()) return found->second();
  if (!connector_) return {};
  auto stream = connector_(port);
  return stream ? std::move(*stream) : Fd();
}

// A reset is never answered: two sides without the stream would go on for ever.
void VsockDevice::refuse(const VsockHeader& packet) {
  if (packet.op == VsockOp::kReset) return;
  queue_reset({.src_cid = packet.dst_cid,
               .dst_cid = packet.src_cid,
               .src_port = packet.dst_port,
               .dst_port = packet.src_port,
               .type = packet.type});
}

void VsockDevice::queue_reset(const VsockHeader& header) {
  if (transport_ == nullptr || resets_.size() >= kMaxResets) return;
  resets_.push_back(header);
  resets_.back().op = VsockOp::kReset;
}

// ---- to the guest

bool VsockDevice::something_to_give() const {
  return !resets_.empty() || !control_line_.empty() || !data_line_.empty();
}

// Returns whether packets are left for another round, and buffers for them.
bool VsockDevice::give_packets() {
  Queue& rx = transport_->queue(kRx);
  if (!rx.usable() || reset_event_ != ResetEvent::kNone) return false;
  bool any = false;
  for (int left = kPacketsPerRound; left > 0 && something_to_give(); --left) {
    const auto chain = next_or_arm(rx);
    if (!chain) break;
    any |= give_packet(rx, *chain);
  }
  if (any || rx.broken()) transport_->queue_done(kRx);
  return something_to_give() && rx.has_chains();
}

// Returns whether the chain was used. A buffer without room for any payload goes back empty.
bool VsockDevice::give_packet(Queue& rx, const Chain& chain) {
  if (chain.writable_size() <= sizeof(VsockHeader)) {
    rx.put_used(chain.head, 0);
    return true;
  }
  if (!resets_.empty()) {
    give(rx, chain, resets_.front());
    resets_.pop_front();
    return true;
  }
  if (control_line_.empty()) return give_data(rx, chain);
  Entry& entry = *control_line_.front();
  VsockHeader header = entry.connection.take_control();
  header.src_cid = kHostCid;
  header.dst_cid = guest_cid_;
  give(rx, chain, header);
  control_line_.splice(control_line_.end(), control_line_, control_line_.begin());
  settle(entry);
  return true;
}

bool VsockDevice::give_data(Queue& rx, const Chain& chain) {
  Entry& entry = *data_line_.front();
  slice(chain.writable, sizeof(VsockHeader), kMaxPayload, pieces_);
  auto header = entry.connection.read_data(pieces_);
  if (header) {
    header->src_cid = kHostCid;
    header->dst_cid = guest_cid_;
    give(rx, chain, *header);
    data_line_.splice(data_line_.end(), data_line_, data_line_.begin());
  } else {
    rx.undo_next();
  }
  settle(entry);
  return header.has_value();
}

void VsockDevice::give(Queue& rx, const Chain& chain, VsockHeader header) {
  chain.write(0, {reinterpret_cast<const uint8_t*>(&header), sizeof(header)});
  rx.put_used(chain.head, sizeof(header) + header.len);
}

}  // namespace thimble
