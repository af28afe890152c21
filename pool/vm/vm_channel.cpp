// See vm_channel.h.
#include "pool/vm/vm_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "devices/text.h"
#include "pool/vm/passed_descriptors.h"

namespace thimble {

namespace {

struct Header {
  uint32_t type;
  uint32_t value;
};

constexpr size_t kMaxDatagram = sizeof(Header) + kVmChannelMaxText;

// Room for two descriptors: a second one is a protocol error that must not leak it.
constexpr size_t kMaxDescriptors = 2;

bool type_is_for(VmMessageType type, VmChannelSide side) {
  switch (type) {
    case VmMessageType::kConnect:
    case VmMessageType::kOpened:
    case VmMessageType::kState:
    case VmMessageType::kSave:
    case VmMessageType::kResume:
    case VmMessageType::kClaim:
    case VmMessageType::kPing:
    case VmMessageType::kRecord:
      return side == VmChannelSide::kVmm;
    case VmMessageType::kReady:
    case VmMessageType::kConsole:
    case VmMessageType::kTail:
    case VmMessageType::kNotice:
    case VmMessageType::kEnded:
    case VmMessageType::kRefused:
    case VmMessageType::kViolation:
    case VmMessageType::kExposed:
    case VmMessageType::kOpen:
    case VmMessageType::kSaved:
    case VmMessageType::kUnsaved:
    case VmMessageType::kPrepared:
    case VmMessageType::kPong:
    case VmMessageType::kRecorded:
    case VmMessageType::kUnrecorded:
      return side == VmChannelSide::kParent;
  }
  return false;
}

bool type_has_value(VmMessageType type) {
  switch (type) {
    case VmMessageType::kConnect:
    case VmMessageType::kOpened:
    case VmMessageType::kSave:
    case VmMessageType::kClaim:
    case VmMessageType::kPing:
    case VmMessageType::kEnded:
    case VmMessageType::kViolation:
    case VmMessageType::kOpen:
    case VmMessageType::kPong:
    case VmMessageType::kRecorded:
      return true;
    default:
      return false;
  }
}

bool type_has_text(VmMessageType type) {
  switch (type) {
    case VmMessageType::kConsole:
    case VmMessageType::kTail:
    case VmMessageType::kNotice:
    case VmMessageType::kEnded:
    case VmMessageType::kRefused:
    case VmMessageType::kExposed:
    case VmMessageType::kUnsaved:
    case VmMessageType::kUnrecorded:
      return true;
    default:
      return false;
  }
}

bool descriptors_fit(VmMessageType type, size_t count) {
  if (type == VmMessageType::kOpened) return count <= 1;
  const bool takes_one = type == VmMessageType::kConnect || type == VmMessageType::kState ||
                         type == VmMessageType::kSave || type == VmMessageType::kRecord;
  return count == (takes_one ? 1 : 0);
}

}  // namespace

Result<std::pair<Fd, Fd>> make_vm_channel() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair for the VMM process");
  }
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

bool send_vm_message(int socket, VmMessageType type, uint32_t value, std::string_view text,
                     int stream, bool wait) {
  Header header{static_cast<uint32_t>(type), value};
  text = text.substr(0, kVmChannelMaxText);
  std::array<iovec, 2> parts{iovec{&header, sizeof header},
                             iovec{const_cast<char*>(text.data()), text.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = text.empty() ? 1 : 2;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (stream >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &stream, sizeof(int));
  }
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  while (::sendmsg(socket, &message, flags) < 0) {
    if (errno == EINTR) continue;
    return errno == EAGAIN && !wait;
  }
  return true;
}

Result<VmMessage> parse_vm_message(std::span<const uint8_t> datagram, VmChannelSide side) {
  Header header{};
  if (datagram.size() < sizeof header || datagram.size() > kMaxDatagram) {
    return fail(text("VM channel message of %zu bytes", datagram.size()));
  }
  std::memcpy(&header, datagram.data(), sizeof header);
  const auto type = static_cast<VmMessageType>(header.type);
  const auto body = datagram.subspan(sizeof header);
  if (!type_is_for(type, side)) return fail(text("VM channel message of type %u", header.type));
  if (!type_has_text(type) && !body.empty()) {
    return fail(text("VM channel message of type %u with text", header.type));
  }
  if (!type_has_value(type) && header.value != 0) {
    return fail(text("VM channel message of type %u with a value", header.type));
  }
  VmMessage message;
  message.type = type;
  message.value = header.value;
  message.text.assign(body.begin(), body.end());
  return message;
}

VmReceived receive_vm_message(int socket, VmChannelSide side, bool wait) {
  std::array<uint8_t, kMaxDatagram> datagram{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec part{datagram.data(), datagram.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  // The parent offers no room for descriptors, so the kernel drops what the VMM may send.
  if (side == VmChannelSide::kVmm) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
  }
  const int flags = MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT);
  ssize_t got = 0;
  // ECONNRESET comes once, when the other end went without having read all: ahead of what it said
  // before, which is still there.
  while ((got = ::recvmsg(socket, &message, flags)) < 0 &&
         (errno == EINTR || errno == ECONNRESET)) {
  }
  if (got < 0 && errno == EAGAIN) return VmChannelEmpty{};
  if (got <= 0) return VmChannelClosed{};
  std::vector<Fd> descriptors = passed_descriptors(message);
  if ((message.msg_flags & MSG_TRUNC) != 0) return Error{"VM channel message too long"};
  auto parsed = parse_vm_message(std::span(datagram).first(static_cast<size_t>(got)), side);
  if (!parsed) return parsed.error();
  if (!descriptors_fit(parsed->type, descriptors.size())) {
    return Error{text("VM channel message with %zu descriptors", descriptors.size())};
  }
  if (!descriptors.empty()) parsed->stream = std::move(descriptors.front());
  return std::move(*parsed);
}

}  // namespace thimble
