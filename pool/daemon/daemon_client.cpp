// See daemon_client.h.
#include "pool/daemon/daemon_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "devices/printable.h"
#include "pool/daemon/runtime_folder.h"
#include "vmm/unix_socket.h"

namespace thimble {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

// The daemon hears of a process's end when everybody does.
constexpr milliseconds kEndTimeout{1000};

std::optional<Datagram> receive_within(int socket, milliseconds timeout) {
  pollfd ready{socket, POLLIN, 0};
  int got = 0;
  while ((got = ::poll(&ready, 1, static_cast<int>(timeout.count()))) < 0 && errno == EINTR) {
  }
  if (got != 1) return std::nullopt;
  return receive_datagram(socket, kMaxReply, kReplyDescriptors);
}

std::string text_of(const json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_ok(const json& object) {
  if (!object.is_object()) return false;
  const auto found = object.find("ok");
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

Result<std::optional<DaemonClient>> DaemonClient::connect(const OwnedFolder& folder) {
  auto socket = connect_in(folder, kDaemonSocket, SOCK_SEQPACKET);
  if (!socket) return std::unexpected(socket.error());
  if (!*socket) return std::nullopt;
  if (peer_uid((*socket)->get()) != ::geteuid()) {
    return fail(folder.path_of(kDaemonSocket) + " is served by another user");
  }
  return DaemonClient(std::move(**socket));
}

Result<Datagram> DaemonClient::exchange(const DaemonRequest& request, milliseconds timeout) {
  if (!send_datagram(socket_.get(), write_request(request))) return fail_errno("ask the daemon");
  auto datagram = receive_within(socket_.get(), timeout);
  if (!datagram) return fail("the daemon does not answer");
  if (datagram->text.empty()) return fail("the daemon has gone");
  return std::move(*datagram);
}

Result<std::string> DaemonClient::ask(const DaemonRequest& request, milliseconds timeout) {
  auto datagram = exchange(request, timeout);
  if (!datagram) return std::unexpected(datagram.error());
  const json reply = read_foreign_json(datagram->text);
  if (is_ok(reply)) return std::move(datagram->text);
  return fail("the daemon refused: " + printable(text_of(reply, "error")));
}

DaemonClient::Claim DaemonClient::claim(DaemonClient client, const TemplateId& id, bool console,
                                        std::string label, milliseconds timeout) {
  DaemonRequest request;
  request.op = DaemonRequest::Op::kClaim;
  request.id = id;
  request.console = console;
  request.label = std::move(label);
  Claim claim;
  auto datagram = client.exchange(request, timeout);
  if (!datagram) {
    claim.unreachable = datagram.error().message;
    return claim;
  }
  const json reply = read_foreign_json(datagram->text);
  if (!is_ok(reply)) {
    claim.refused = printable(text_of(reply, "error"));
    claim.because_of_template = text_of(reply, "kind") == "template";
    if (claim.refused.empty()) claim.unreachable = "the daemon's answer is not understood";
    return claim;
  }
  if (datagram->descriptors.size() != kReplyDescriptors) {
    claim.unreachable = "the daemon's answer came without its descriptors";
    return claim;
  }
  HandedOver vm;
  vm.channel = std::move(datagram->descriptors[0]);
  vm.pidfd = std::move(datagram->descriptors[1]);
  const auto pid = reply.find("pid");
  if (pid != reply.end() && pid->is_number_integer()) vm.pid = pid->get<pid_t>();
  vm.exposed = text_of(reply, "exposed");
  claim.exposed = printable(vm.exposed);
  // The connection lives as long as the VM is wanted.
  auto connection = std::make_shared<Fd>(std::move(client.socket_));
  vm.how_it_ended = [connection] {
    const auto said = receive_within(connection->get(), kEndTimeout);
    if (!said) return std::string();
    if (said->text.empty()) return std::string("the daemon that held it");
    return text_of(read_foreign_json(said->text), "ended");
  };
  claim.vm = VmProcess::adopt(std::move(vm));
  return claim;
}

}  // namespace thimble
