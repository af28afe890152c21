// See fake_vm.h.
#include "tests/unit/server-run/fake_vm.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "guest-init/session.h"
#include "guest-init/transport.h"
#include "pool/guest/control_codec.h"
#include "tests/unit/guest-init/fake_platform.h"

namespace thimble::test {
namespace {

void copy(int from, int to) {
  std::array<char, 65536> chunk{};
  for (ssize_t n = 0; (n = ::recv(from, chunk.data(), chunk.size(), 0)) > 0;) {
    for (ssize_t at = 0; at < n;) {
      const ssize_t put = ::send(to, chunk.data() + at, static_cast<size_t>(n - at), MSG_NOSIGNAL);
      if (put <= 0) {
        ::shutdown(from, SHUT_RD);  // a reader that is gone: the writer is to notice
        return;
      }
      at += put;
    }
  }
  ::shutdown(to, SHUT_WR);
}

// Joins a stream of the host's with a connection to init, as a vsock device would.
void join(Fd host, Fd guest) {
  auto ends = std::make_shared<std::pair<Fd, Fd>>(std::move(host), std::move(guest));
  std::thread([ends] { copy(ends->first.get(), ends->second.get()); }).detach();
  std::thread([ends] { copy(ends->second.get(), ends->first.get()); }).detach();
}

Fd connect_to(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), generic, sizeof address) != 0) return Fd();
  return socket;
}

pid_t start_init(const std::string& control, const std::string& streams,
                 const std::string& directory) {
  const int control_listener = init::listen_unix(control.c_str());
  const int stream_listener = init::listen_unix(streams.c_str());
  const pid_t pid = ::fork();
  if (pid != 0) {
    ::close(control_listener);
    ::close(stream_listener);
    return pid;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  init::Platform platform;
  platform.configure = [](void*, const init::Configure&, init::Failure&) { return true; };
  platform.oom_kills = [](void* folder) -> uint32_t {
    uint32_t kills = 0;
    std::ifstream(*static_cast<std::string*>(folder) + "/oom_kills") >> kills;
    return kills;
  };
  static std::string context = directory;
  platform.context = &context;
  platform.freeze = fake_freeze;
  platform.look = fake_look;
  platform.find_unreseeded = fake_find_unreseeded;
  static init::Session session;
  session.open(control_listener, stream_listener, platform);
  session.run();
  ::_exit(0);
}

// What the maker of a template does: the server is started, settles and is frozen; then this host
// is gone.
void freeze_server(const std::string& control_path, const ServerSpec& server) {
  const Fd socket = connect_to(control_path);
  GuestControl control;
  std::array<uint8_t, 4096> bytes{};
  while (control.state() != GuestControl::State::kFrozen) {
    const ssize_t n = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) ::_exit(1);
    control.received(std::span(bytes).first(static_cast<size_t>(n)));
    while (const auto event = control.next_event()) {
      if (event->kind == GuestEvent::Kind::kHello) (void)control.configure({});
      if (event->kind == GuestEvent::Kind::kConfigured) (void)control.start(server);
      if (event->kind == GuestEvent::Kind::kStarted) (void)control.freeze(10000);
    }
    const auto waiting = control.output();
    const ssize_t sent = ::send(socket.get(), waiting.data(), waiting.size(), MSG_NOSIGNAL);
    if (sent > 0) control.sent(static_cast<size_t>(sent));
  }
}

void say(int control, uint16_t type, const std::vector<uint8_t>& payload) {
  const protocol::FrameHeader header{static_cast<uint32_t>(payload.size()), type, 0};
  (void)!::write(control, &header, sizeof header);
  (void)!::write(control, payload.data(), payload.size());
}

int serve(int channel, const std::string& directory, const ServerSpec* frozen = nullptr) {
  const std::string control = directory + "/control";
  const std::string streams = directory + "/streams";
  const pid_t init = start_init(control, streams, directory);
  if (frozen) freeze_server(control, *frozen);
  std::thread([channel, init] {
    ::waitpid(init, nullptr, 0);
    (void)send_vm_message(channel, VmMessageType::kEnded,
                          static_cast<uint32_t>(End::Kind::kPowerOff), "off");
    ::_exit(0);
  }).detach();
  (void)send_vm_message(channel, VmMessageType::kReady, 0, "");
  for (;;) {
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return 0;
    const bool is_control = message->value == protocol::kControlPort;
    Fd guest = connect_to(is_control ? control : streams);
    if (guest) join(std::move(message->stream), std::move(guest));
  }
}

}  // namespace

VmProcess::Body guest_without_vm(std::filesystem::path directory) {
  return [directory = std::move(directory)](int channel) {
    return serve(channel, directory.string());
  };
}

VmProcess::Body frozen_guest_without_vm(std::filesystem::path directory, ServerSpec server) {
  server.detached = true;
  return [directory = std::move(directory), server = std::move(server)](int channel) {
    return serve(channel, directory.string(), &server);
  };
}

VmProcess::Body guest_that(std::function<void(int control)> behave) {
  return [behave = std::move(behave)](int channel) {
    (void)send_vm_message(channel, VmMessageType::kReady, 0, "");
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return 1;
    behave(message->stream.get());
    for (;;) ::pause();
    return 0;
  };
}

void say_hello(int control) {
  FieldWriter fields;
  fields.add_number(protocol::kTagVersion, protocol::kVersion);
  fields.add_number(protocol::kTagState, static_cast<uint32_t>(protocol::kStateFresh));
  say(control, protocol::kHello, fields.take());
}

void say_notice(int control, std::string_view line) {
  FieldWriter fields;
  fields.add_text(protocol::kTagText, line);
  say(control, protocol::kNotice, fields.take());
}

uint64_t read_wall_clock(int control) {
  protocol::FrameHeader frame{};
  if (::recv(control, &frame, sizeof frame, MSG_WAITALL) != sizeof frame) return 0;
  std::vector<uint8_t> payload(frame.length);
  (void)::recv(control, payload.data(), payload.size(), MSG_WAITALL);
  for (size_t at = 0; at + sizeof(protocol::FieldHeader) <= payload.size();) {
    protocol::FieldHeader field{};
    std::memcpy(&field, payload.data() + at, sizeof field);
    at += sizeof field;
    uint64_t time = 0;
    if (field.tag == protocol::kTagWallClock && field.length == sizeof time &&
        at + sizeof time <= payload.size()) {
      std::memcpy(&time, payload.data() + at, sizeof time);
      return time;
    }
    at += field.length;
  }
  return 0;
}

}  // namespace thimble::test
