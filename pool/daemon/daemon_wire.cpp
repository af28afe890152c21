// See daemon_wire.h.
#include "pool/daemon/daemon_wire.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "devices/printable.h"
#include "pool/vm/passed_descriptors.h"

namespace thimble {

namespace {

using nlohmann::json;

constexpr size_t kMaxLabel = 64;
constexpr size_t kMaxWarmVms = 64;

bool text_of(const json& object, const char* name, std::string& out) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) return false;
  out = found->get_ref<const std::string&>();
  return out.find('\0') == std::string::npos;
}

bool read_template(const json& object, TemplateId& id) {
  return text_of(object, "store", id.store) && text_of(object, "template", id.name) &&
         id.store.starts_with('/') && !id.name.empty() && id.name.find('/') == std::string::npos &&
         id.name.front() != '.';
}

bool read_claim(const json& object, DaemonRequest& request) {
  request.op = DaemonRequest::Op::kClaim;
  if (!read_template(object, request.id)) return false;
  const auto console = object.find("console");
  if (console != object.end()) {
    if (!console->is_boolean()) return false;
    request.console = console->get<bool>();
  }
  if (object.contains("label")) {
    if (!text_of(object, "label", request.label)) return false;
    request.label = printable(request.label, kMaxLabel);
  }
  return true;
}

bool read_warm(const json& object, DaemonRequest& request) {
  request.op = DaemonRequest::Op::kWarm;
  auto warm_vms = object.find("warm_vms");
  if (warm_vms == object.end()) warm_vms = object.find("shells");  // of a release before
  if (warm_vms == object.end() || !warm_vms->is_number_unsigned()) return false;
  if (warm_vms->get<uint64_t>() > kMaxWarmVms) return false;
  request.warm_vms = warm_vms->get<size_t>();
  return read_template(object, request.id);
}

}  // namespace

Result<DaemonRequest> parse_request(std::string_view datagram) {
  const json object = read_foreign_json(datagram);
  std::string op;
  if (!object.is_object() || !text_of(object, "op", op)) return fail("this is no request");
  DaemonRequest request;
  bool sound = true;
  if (op == "claim") {
    sound = read_claim(object, request);
  } else if (op == "warm") {
    sound = read_warm(object, request);
  } else if (op == "stop") {
    request.op = DaemonRequest::Op::kStop;
  } else if (op != "status") {
    return fail("the request " + printable(op, kMaxLabel) + " is not known");
  }
  if (!sound) return fail("a field of the request " + op + " is missing or wrong");
  return request;
}

std::string write_request(const DaemonRequest& request) {
  json object;
  switch (request.op) {
    case DaemonRequest::Op::kStatus:
      object["op"] = "status";
      break;
    case DaemonRequest::Op::kStop:
      object["op"] = "stop";
      break;
    case DaemonRequest::Op::kClaim:
      object = {{"op", "claim"},
                {"store", request.id.store},
                {"template", request.id.name},
                {"console", request.console},
                {"label", request.label}};
      break;
    case DaemonRequest::Op::kWarm:
      object = {{"op", "warm"},
                {"store", request.id.store},
                {"template", request.id.name},
                {"warm_vms", request.warm_vms}};
      break;
  }
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool send_datagram(int socket, std::string_view text, std::span<const int> descriptors) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kReplyDescriptors * sizeof(int))> control{};
  if (!descriptors.empty()) {
    if (descriptors.size() > kReplyDescriptors) return false;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = 0;
  while ((sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && errno == EINTR) {
  }
  return sent == static_cast<ssize_t>(text.size());
}

namespace {

// What recv() says; ECONNRESET: see receive_vm_message().
template <class Receive>
ssize_t retried(Receive receive) {
  ssize_t got = 0;
  while ((got = receive()) < 0 && (errno == EINTR || errno == ECONNRESET)) {
  }
  return got;
}

}  // namespace

std::optional<Datagram> receive_datagram(int socket, size_t max, size_t descriptors) {
  // Its length first: room for the longest would be touched by each client for nothing.
  const ssize_t length =
      retried([socket] { return ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT); });
  if (length < 0 && errno == EAGAIN) return std::nullopt;
  Datagram datagram;
  datagram.text.resize(std::min(max, static_cast<size_t>(std::max<ssize_t>(length, 0))));
  iovec part{datagram.text.data(), datagram.text.size()};
  std::vector<char> control(descriptors == 0 ? 0 : CMSG_SPACE(descriptors * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.empty() ? nullptr : control.data();
  message.msg_controllen = control.size();
  const ssize_t got =
      retried([&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); });
  if (got < 0 && errno == EAGAIN) return std::nullopt;
  datagram.text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  datagram.cut = got > 0 && (message.msg_flags & MSG_TRUNC) != 0;
  if (got >= 0) datagram.descriptors = passed_descriptors(message);
  return datagram;
}

std::optional<uid_t> peer_uid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  return peer.uid;
}

}  // namespace thimble
