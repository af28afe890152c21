// The header that every vsock packet starts with, both ways (virtio 1.2, 5.10.6).
//
//   offset  size
//        0     8  src_cid     who sends: the host is 2, the guest what its configuration says
//        8     8  dst_cid
//       16     4  src_port
//       20     4  dst_port    (host port, guest port) names a stream
//       24     4  len         bytes of payload that follow the header
//       28     2  type        1: stream
//       30     2  op          request, response, reset, …
//       32     4  flags       of a shutdown
//       36     4  buf_alloc   the sender's half of flow control, valid in every packet: credit.h
//       40     4  fwd_cnt
//       44        payload
//
// All fields are little-endian, as the host is.
#pragma once

#include <cstdint>

namespace thimble {

// Context ids: the host's is fixed, the guest's is in the device's configuration space.
constexpr uint64_t kHostCid = 2;
constexpr uint64_t kFirstGuestCid = 3;

enum class VsockType : uint16_t { kStream = 1 };

enum class VsockOp : uint16_t {
  kInvalid = 0,
  kRequest = 1,        // open a stream
  kResponse = 2,       // … accepted
  kReset = 3,          // refused, or over at once; never answered
  kShutdown = 4,       // `flags` says what the sender will no longer do
  kData = 5,           // payload (VIRTIO_VSOCK_OP_RW)
  kCreditUpdate = 6,   // nothing but the credit fields
  kCreditRequest = 7,  // asks for a kCreditUpdate
};

// Flags of kShutdown.
constexpr uint32_t kShutdownReceive = 1;  // the sender will receive no more
constexpr uint32_t kShutdownSend = 2;     // the sender will send no more
constexpr uint32_t kShutdownBoth = kShutdownReceive | kShutdownSend;

struct [[gnu::packed]] VsockHeader {
  uint64_t src_cid = 0;
  uint64_t dst_cid = 0;
  uint32_t src_port = 0;
  uint32_t dst_port = 0;
  uint32_t len = 0;  // bytes of payload
  VsockType type = VsockType::kStream;
  VsockOp op = VsockOp::kInvalid;
  uint32_t flags = 0;
  uint32_t buf_alloc = 0;  // bytes that the sender can hold for this stream
  uint32_t fwd_cnt = 0;    // bytes that the sender has passed on, modulo 2^32
};
static_assert(sizeof(VsockHeader) == 44);

// No packet of ours carries more; the guest's may (virtio 1.2 sets no limit), and are taken whole.
constexpr uint32_t kMaxPayload = 64 * 1024;

// What the guest finds in a buffer of the event queue (5.10.6.7).
constexpr uint32_t kEventTransportReset = 0;

}  // namespace thimble
