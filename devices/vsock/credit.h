// Flow control of one stream (virtio 1.2, 5.10.6.3): each side tells the other how many bytes it
// can hold (buf_alloc) and how many it has passed on so far (fwd_cnt); the other may have at most
// buf_alloc bytes on their way:
//
//     sent so far - fwd_cnt  <=  buf_alloc        all counted modulo 2^32
//
// What we may send is SendCredit, from what the guest tells; what the guest may send is
// ReceiveCredit, from what we told. The guest may lie in both: a lie costs it the stream.
#pragma once

#include <algorithm>
#include <cstdint>

namespace thimble {

class SendCredit {
 public:
  // Takes over the fields of a packet from the guest. False when it claims to have consumed bytes
  // that were never sent. A count older than the last one is ignored, not punished: a guest with
  // several CPUs may queue its packets in another order than it counted.
  bool update(uint32_t buf_alloc, uint32_t fwd_cnt) {
    window_ = std::min(buf_alloc, kMaxWindow);
    const uint32_t advance = fwd_cnt - consumed_;
    if (advance <= sent_ - consumed_) {
      consumed_ = fwd_cnt;
      return true;
    }
    return advance > UINT32_MAX / 2;
  }

  // A guest may shrink its window below what is on its way: then nothing until it has caught up.
  [[nodiscard]] uint32_t available() const {
    const uint32_t in_flight = sent_ - consumed_;
    return in_flight < window_ ? window_ - in_flight : 0;
  }

  void spend(uint32_t bytes) { sent_ += bytes; }

 private:
  // Keeps bytes in flight far below 2^31, so that "ahead" and "behind" differ modulo 2^32.
  static constexpr uint32_t kMaxWindow = 1U << 30;

  uint32_t window_ = 0;
  uint32_t sent_ = 0;
  uint32_t consumed_ = 0;
};

class ReceiveCredit {
 public:
  explicit ReceiveCredit(uint32_t window) : window_(window) {}

  [[nodiscard]] uint32_t window() const { return window_; }

  // Bytes arrived. False, and nothing counted, when they are more than the guest was granted.
  bool take(uint64_t bytes) {
    if (bytes > window_ - (received_ - told_)) return false;
    received_ += static_cast<uint32_t>(bytes);
    return true;
  }

  // Bytes were passed on to the host's stream.
  void pass_on(uint32_t bytes) { passed_on_ += bytes; }

  // The count for a header that is about to be sent.
  uint32_t tell() { return told_ = passed_on_; }

  // A quarter of the window is free without the guest knowing. Earlier, every small packet would
  // cost one of ours; later, a busy guest would run dry while the update is on its way.
  [[nodiscard]] bool update_due() const {
    return passed_on_ - told_ >= std::max<uint32_t>(window_ / 4, 1);
  }

 private:
  uint32_t window_;
  uint32_t received_ = 0;
  uint32_t passed_on_ = 0;
  uint32_t told_ = 0;
};

}  // namespace thimble
