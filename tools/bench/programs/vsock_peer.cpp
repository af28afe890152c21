// The host's side of the vsock figures: vsock_peer SOCKET, where SOCKET is that of `thimble boot
// --vsock` with vsock_init.cpp as PID 1. Prints one JSON object: the round trip of one byte, and
// the time for each MiB in both directions, as latency and as busy time of the box's processor.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tools/bench/programs/clocks.h"

namespace {

using thimble::bench::Clocks;
using thimble::bench::give_up;

constexpr unsigned kRoundTrips = 300;
constexpr unsigned kWarmUp = 20;
constexpr size_t kAmount = 16 << 20;

int open_stream(const char* path, char what) {
  const int stream = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (stream < 0) give_up("make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  if (::connect(stream, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up("connect to the socket of --vsock");
  }
  constexpr char kHello[] = "CONNECT 1024\n";
  char answer[64];
  if (::write(stream, kHello, sizeof kHello - 1) < 0 || ::read(stream, answer, sizeof answer) < 3 ||
      std::strncmp(answer, "OK ", 3) != 0) {
    give_up("CONNECT 1024: refused");
  }
  if (::write(stream, &what, 1) != 1) give_up("write");
  return stream;
}

void round_trip(int stream) {
  char byte = 'x';
  if (::write(stream, &byte, 1) != 1 || ::read(stream, &byte, 1) != 1) give_up("round trip");
}

void measure_round_trips(const char* path) {
  const int stream = open_stream(path, 'e');
  for (unsigned i = 0; i < kWarmUp; ++i) round_trip(stream);
  std::vector<int64_t> times;
  times.reserve(kRoundTrips);
  const Clocks begin = Clocks::now();
  for (unsigned i = 0; i < kRoundTrips; ++i) {
    const int64_t before = thimble::bench::clock_ns();
    round_trip(stream);
    times.push_back(thimble::bench::clock_ns() - before);
  }
  const Clocks passed = Clocks::now() - begin;
  std::sort(times.begin(), times.end());
  std::printf("{\"round_trip_ns\": %ld, \"round_trip_busy_ns\": %ld, ", times[kRoundTrips / 2],
              passed.busy / kRoundTrips);
  ::close(stream);
}

void print_rate(const char* name, const Clocks& passed, const char* after) {
  constexpr int64_t kMebibytes = kAmount >> 20;
  std::printf("\"%s_ns\": %ld, \"%s_busy_ns\": %ld%s", name, passed.clock / kMebibytes, name,
              passed.busy / kMebibytes, after);
}

void measure_to_guest(const char* path, std::vector<char>& buffer) {
  const int stream = open_stream(path, 's');
  const Clocks begin = Clocks::now();
  for (size_t left = kAmount; left > 0;) {
    const ssize_t n = ::write(stream, buffer.data(), std::min(left, buffer.size()));
    if (n <= 0) give_up("write to the guest");
    left -= static_cast<size_t>(n);
  }
  char done = 0;
  if (::read(stream, &done, 1) != 1) give_up("the guest did not get everything");
  print_rate("to_guest", Clocks::now() - begin, ", ");
  ::close(stream);
}

void measure_from_guest(const char* path, std::vector<char>& buffer) {
  const int stream = open_stream(path, 'p');
  const Clocks begin = Clocks::now();
  for (size_t left = kAmount; left > 0;) {
    const ssize_t n = ::read(stream, buffer.data(), buffer.size());
    if (n <= 0) give_up("read from the guest");
    left -= std::min(left, static_cast<size_t>(n));
  }
  print_rate("from_guest", Clocks::now() - begin, "}\n");
  ::close(stream);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) give_up("usage: vsock_peer SOCKET");
  std::vector<char> buffer(256 << 10, 'v');
  measure_round_trips(argv[1]);
  measure_to_guest(argv[1], buffer);
  measure_from_guest(argv[1], buffer);
  return 0;
}
