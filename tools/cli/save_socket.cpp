// See save_socket.h.
#include "tools/cli/save_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "pool/vm/passed_descriptors.h"

namespace thimble::cli {

namespace {

constexpr size_t kFiles = 2;
constexpr size_t kLine = 4096;
constexpr std::string_view kSave = "save\n";
constexpr std::string_view kHold = "hold\n";
constexpr std::string_view kStop = "stop\n";
constexpr std::string_view kSaved = "saved\n";
constexpr std::string_view kError = "error: ";

struct Received {
  std::string text;
  std::vector<Fd> files;
};

// What is there; an empty text at the end of the stream. Nothing when there is nothing yet.
std::optional<Received> receive(int socket, int flags) {
  std::array<char, kLine> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFiles * sizeof(int))> control{};
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  while ((got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags)) < 0 && errno == EINTR) {
  }
  if (got < 0 && errno == EAGAIN) return std::nullopt;
  Received received;
  if (got >= 0) received.files = passed_descriptors(message);
  if (got > 0) received.text.assign(text.data(), static_cast<size_t>(got));
  return received;
}

}  // namespace

Result<SaveSocket> SaveSocket::make(const std::string& path) {
  auto name = UnixListener::bind(path);
  if (!name) return fail_in("--save-socket", name);
  Fd listener = name->take();
  return SaveSocket(std::move(*name), std::move(listener));
}

bool SaveSocket::serve(VmProcess& vm) {
  if (client_) return serve_client(vm);
  client_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  phase_ = Phase::kAwaitsRequest;
  return false;
}

bool SaveSocket::serve_client(VmProcess& vm) {
  auto received = receive(client_.get(), MSG_DONTWAIT);
  if (!received) return false;
  const std::string& word = received->text;
  const bool asks = word == kSave || word == kHold;
  if (phase_ == Phase::kAwaitsRequest && asks && received->files.size() == kFiles) {
    begin(vm, {.state = std::move(received->files[0]), .memory = std::move(received->files[1])},
          word == kHold);
    return false;
  }
  if (phase_ == Phase::kHeld && word == kStop) return true;
  if (phase_ == Phase::kHeld) {
    // Fails only when the VM has ended, which is told by itself.
    [[maybe_unused]] auto resumed = vm.resume();
  }
  // A client that goes while the VM is being saved: the answer finds nobody.
  if (phase_ == Phase::kSaving) {
    hold_ = false;
    phase_ = Phase::kAwaitsRequest;
    [[maybe_unused]] auto resumed = vm.resume();
  }
  drop();
  return false;
}

void SaveSocket::begin(VmProcess& vm, SnapshotFiles files, bool hold) {
  hold_ = hold;
  phase_ = Phase::kSaving;
  if (auto asked = vm.save(std::move(files), hold); !asked) {
    answer(std::string(kError) + asked.error().message + "\n");
    drop();
  }
}

void SaveSocket::saved(const VmEvent& event) {
  if (phase_ != Phase::kSaving) return;
  const bool fine = event.kind == VmEvent::Kind::kSaved;
  answer(fine ? std::string(kSaved) : std::string(kError) + event.text + "\n");
  if (fine && hold_) {
    phase_ = Phase::kHeld;
  } else {
    drop();
  }
}

void SaveSocket::answer(const std::string& line) {
  ::send(client_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void SaveSocket::drop() {
  client_.reset();
  phase_ = Phase::kAwaitsRequest;
}

Result<SaveClient> SaveClient::save(const std::string& path, int state, int memory, bool hold) {
  auto socket = connect_unix(path);
  if (!socket) return std::unexpected(socket.error());
  const int flags = ::fcntl(socket->get(), F_GETFL);
  ::fcntl(socket->get(), F_SETFL, flags & ~O_NONBLOCK);

  std::string_view word = hold ? kHold : kSave;
  const std::array<int, kFiles> files{state, memory};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(files))> control{};
  iovec part{const_cast<char*>(word.data()), word.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(files));
  std::memcpy(CMSG_DATA(header), files.data(), sizeof(files));
  if (::sendmsg(socket->get(), &message, MSG_NOSIGNAL) < 0) return fail_errno("ask the VM");

  std::string answer;
  while (!answer.ends_with('\n')) {
    auto received = receive(socket->get(), 0);
    if (!received || received->text.empty()) return fail("the VM ended before it was saved");
    answer += received->text;
  }
  if (answer == kSaved) return SaveClient(std::move(*socket));
  answer.pop_back();
  return fail(answer.starts_with(kError) ? answer.substr(kError.size()) : answer);
}

Result<void> SaveClient::stop() {
  if (::send(socket_.get(), kStop.data(), kStop.size(), MSG_NOSIGNAL) < 0) {
    return fail_errno("tell the VM to stop");
  }
  return {};
}

}  // namespace thimble::cli
