// vsock packets with impossible credit and lengths: each costs the guest that stream by a reset,
// and the next stream is accepted.
#include "vsock.h"

using namespace payload;

namespace {

uint32_t next_port = 5000;

uint32_t open(Vsock& vsock) {
  const uint32_t port = next_port++;
  vsock.send(port, kRequest);
  check(vsock.answer(port) == kResponse, "a stream is accepted");
  return port;
}

void expect_reset(Vsock& vsock, uint32_t port, const char* what) {
  check(vsock.answer(port) == kReset, what);
}

}  // namespace

void _start() {
  Vsock vsock;
  vsock.start();
  uint32_t port = open(vsock);
  vsock.send(port, kCreditUpdate, 0, 0, 1000);
  expect_reset(vsock, port, "bytes consumed that were never sent");

  port = open(vsock);
  vsock.send(port, kData, 0xffffffff, 16);
  expect_reset(vsock, port, "a length beyond the chain");

  port = open(vsock);
  vsock.send(port, kData, 0x400000, 0x400000);
  expect_reset(vsock, port, "more than the credit in one packet");

  port = open(vsock);
  for (int i = 0; i < 64; ++i) vsock.send(port, kData, 0x8000, 0x8000);  // nobody reads at the host
  expect_reset(vsock, port, "more than the credit in many packets");

  port = open(vsock);
  vsock.send(port, kRequest);
  expect_reset(vsock, port, "a second request");

  port = open(vsock);
  vsock.send(port, kCreditUpdate, 0, 0, 0, 0);  // a window of nothing
  vsock.send(port, kData, 4, 4);
  vsock.send(port, kReset);
  open(vsock);
  finish();
}
