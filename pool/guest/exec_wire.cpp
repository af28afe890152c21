// See exec_wire.h.
#include "pool/guest/exec_wire.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "pool/vm/passed_descriptors.h"

namespace thimble {

namespace {

std::optional<uint16_t> parse_number(std::string_view word) {
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

// The value, or values, of an option: how many words it took with its name; 0 for what is none.
size_t take_option(std::span<const std::string> words, ExecRequest& request) {
  const std::string& name = words.front();
  if (name == "terminal" && words.size() >= 3) {
    request.terminal = parse_window(words[1], words[2]);
    return request.terminal ? 3 : 0;
  }
  if (words.size() < 2) return 0;
  if (name == "env") {
    const size_t equals = words[1].find('=');
    if (equals == 0 || equals == std::string::npos) return 0;
    request.environment.push_back(words[1]);
  } else if (name == "workdir") {
    request.workdir = words[1];
  } else if (name == "user") {
    request.user = words[1];
  } else {
    return 0;
  }
  return 2;
}

}  // namespace

std::optional<protocol::Window> parse_window(std::string_view rows, std::string_view columns) {
  const auto high = parse_number(rows);
  const auto wide = parse_number(columns);
  if (!high || !wide) return std::nullopt;
  return protocol::Window{*high, *wide};
}

ExecWords exec_words(const ExecRequest& request) {
  ExecWords words{"start"};
  for (const std::string& variable : request.environment) {
    words.insert(words.end(), {"env", variable});
  }
  if (!request.workdir.empty()) words.insert(words.end(), {"workdir", request.workdir});
  if (!request.user.empty()) words.insert(words.end(), {"user", request.user});
  if (request.terminal) {
    words.insert(words.end(), {"terminal", std::to_string(request.terminal->rows),
                               std::to_string(request.terminal->columns)});
  }
  words.emplace_back("--");
  words.insert(words.end(), request.command.begin(), request.command.end());
  return words;
}

Result<ExecRequest> parse_exec_request(const ExecWords& words) {
  ExecRequest request;
  std::span<const std::string> rest(words);
  if (rest.empty() || rest.front() != "start") return fail("no request to start a process");
  rest = rest.subspan(1);
  while (!rest.empty() && rest.front() != "--") {
    const size_t taken = take_option(rest, request);
    if (taken == 0) return fail("an unknown option of a process, or a wrong value of one");
    rest = rest.subspan(taken);
  }
  if (rest.size() < 2) return fail("a process without a command");
  request.command.assign(rest.begin() + 1, rest.end());
  return request;
}

std::optional<ExecWords> parse_exec_words(std::string_view datagram) {
  if (datagram.empty() || datagram.back() != '\0') return std::nullopt;
  ExecWords words;
  while (!datagram.empty()) {
    const size_t end = datagram.find('\0');
    words.emplace_back(datagram.substr(0, end));
    datagram.remove_prefix(end + 1);
  }
  return words;
}

bool send_exec(int socket, const ExecWords& words, std::span<const int> streams) {
  std::string datagram;
  for (const std::string& word : words) datagram += word + '\0';
  if (datagram.size() > kMaxExecMessage || streams.size() > kMaxExecStreams) {
    errno = EMSGSIZE;
    return false;
  }
  iovec part{datagram.data(), datagram.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxExecStreams * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!streams.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(streams.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(streams.size_bytes());
    std::memcpy(CMSG_DATA(header), streams.data(), streams.size_bytes());
  }
  return ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

ExecReceived receive_exec(int socket) {
  std::string datagram(kMaxExecMessage, '\0');
  iovec part{datagram.data(), datagram.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxExecStreams * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return ExecNothing{};
  if (got <= 0) return ExecGone{};
  ExecMessage received{{}, passed_descriptors(message)};
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return ExecGone{};
  auto words = parse_exec_words(std::string_view(datagram).substr(0, static_cast<size_t>(got)));
  if (!words) return ExecGone{};
  received.words = std::move(*words);
  return received;
}

}  // namespace thimble
