// See rng.h.
#include "devices/virtio/rng.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

namespace thimble {

namespace {

constexpr std::array<uint16_t, 1> kQueueSizes{16};
constexpr int kChainsPerRound = kQueueSizes[0];

// Bytes filled; fewer than asked only when the host has none, which does not happen once it is up.
uint32_t fill(std::span<uint8_t> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t got = getrandom(out.data() + filled, out.size() - filled, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    filled += static_cast<size_t>(got);
  }
  return static_cast<uint32_t>(filled);
}

uint32_t fill(const Chain& chain) {
  uint32_t filled = 0;
  for (const Buffer& buffer : chain.writable) {
    const size_t piece = std::min<size_t>(buffer.size, Rng::kMaxFill - filled);
    const uint32_t got = fill(std::span(buffer.data, piece));
    filled += got;
    if (got < piece) break;
  }
  return filled;
}

}  // namespace

std::span<const uint16_t> Rng::queue_sizes() const { return kQueueSizes; }

void Rng::activate(VirtioTransport& transport, uint64_t /*features*/) { transport_ = &transport; }

void Rng::notify(size_t /*index*/) { serve(); }

void Rng::reset() { transport_ = nullptr; }

void Rng::serve() {
  if (transport_ == nullptr) return;
  Queue& queue = transport_->queue(0);
  bool more = true;
  for (int taken = 0; more && taken < kChainsPerRound; ++taken) {
    if (auto chain = queue.next_chain()) {
      queue.put_used(chain->head, fill(*chain));
    } else {
      more = queue.enable_notifications();
    }
  }
  if (more) serve_again_soon();
  transport_->queue_done(0);
}

// A guest that asks without end must not keep the loop from other devices.
void Rng::serve_again_soon() {
  if (std::exchange(serve_posted_, true)) return;
  loop_.post([this] {
    const std::scoped_lock guard(lock());
    serve_posted_ = false;
    serve();
  });
}

}  // namespace thimble
