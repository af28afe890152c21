// QEMU's human monitor; see monitor.h.
#include "tools/lab-box/monitor.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>

#include "devices/fd.h"

namespace thimble::lab {
namespace {

constexpr std::string_view kPrompt = "(qemu) ";
constexpr int kSilenceMs = 5000;

// What QEMU says until it prompts (the prompt is cut off).
Result<std::string> read_to_prompt(const Fd& socket) {
  std::string text;
  while (!text.ends_with(kPrompt)) {
    pollfd wait{socket.get(), POLLIN, 0};
    if (::poll(&wait, 1, kSilenceMs) == 0) return fail("QEMU's monitor does not answer");
    char buffer[4096];
    const ssize_t n = ::read(socket.get(), buffer, sizeof(buffer));
    if (n <= 0) return fail("QEMU's monitor has closed");
    text.append(buffer, static_cast<size_t>(n));
  }
  return text.substr(0, text.size() - kPrompt.size());
}

}  // namespace

Result<std::string> ask_qemu(const std::string& socket_path, const std::string& command) {
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) return fail("too long: " + socket_path);
  std::snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path.c_str());
  if (!socket ||
      ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("connect to " + socket_path);
  }
  if (auto greeting = read_to_prompt(socket); !greeting) return greeting;
  const std::string line = command + "\n";
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) {
    return fail_errno("write to " + socket_path);
  }
  auto answer = read_to_prompt(socket);
  if (!answer) return answer;
  const size_t echo = answer->find('\n');  // the first line is our own command, typed back
  return echo == std::string::npos ? std::string() : answer->substr(echo + 1);
}

}  // namespace thimble::lab
