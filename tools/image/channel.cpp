// See channel.h.
#include "tools/image/channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

namespace thimble::image {
namespace {

constexpr std::size_t kLongestText = 16 << 10;

}  // namespace

Result<std::pair<Fd, Fd>> make_channel() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair for the jailed builder");
  }
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

void send_message(int channel, Message::Kind kind, std::string_view text) {
  std::string packet(1, kind);
  packet += text.substr(0, kLongestText);
  while (::send(channel, packet.data(), packet.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

std::optional<Message> receive_message(int channel) {
  std::array<char, kLongestText + 1> packet{};
  ssize_t got = 0;
  while ((got = ::recv(channel, packet.data(), packet.size(), 0)) < 0 && errno == EINTR) {
  }
  if (got <= 0) return std::nullopt;
  return Message{packet[0], std::string(packet.data() + 1, static_cast<std::size_t>(got) - 1)};
}

}  // namespace thimble::image
