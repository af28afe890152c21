// `thimble status` and `thimble top`.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "mcp-agent/server_run.h"
#include "mcp-agent/signals.h"
#include "tools/cli/commands.h"
#include "tools/cli/fleet.h"
#include "tools/cli/say.h"
#include "tools/cli/terminal.h"

namespace thimble::cli {

namespace {

constexpr int kEveryMs = 1000;
constexpr const char* kEnterScreen = "\033[?1049h\033[?25l";
constexpr const char* kLeaveScreen = "\033[?25h\033[?1049l";
constexpr const char* kHome = "\033[H";
constexpr const char* kClearLine = "\033[K";
constexpr const char* kClearBelow = "\033[J";

void print(std::string_view bytes) { (void)!::write(STDOUT_FILENO, bytes.data(), bytes.size()); }

// As many lines as the terminal has, each cut at its width.
std::string fit(const std::string& all) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) size = {24, 80, 0, 0};
  std::string out = kHome;
  size_t at = 0;
  for (unsigned row = 0; row + 1 < size.ws_row && at < all.size(); ++row) {
    const size_t end = std::min(all.find('\n', at), all.size());
    out += all.substr(at, std::min<size_t>(end - at, size.ws_col));
    out += std::string(kClearLine) + "\r\n";
    at = end + 1;
  }
  return out + kClearBelow;
}

// Keys that end it: q, Ctrl-C, Ctrl-D; so does a terminal that is gone.
bool ends_by_key() {
  char key = 0;
  const ssize_t n = ::read(STDIN_FILENO, &key, 1);
  return n <= 0 || key == 'q' || key == 3 || key == 4;
}

// Waits until it is time for the next look, or at once when the window's size changes. The exit
// status when it is to end.
std::optional<int> await_next_look(SignalSource& signals) {
  std::array<pollfd, 2> set{{{STDIN_FILENO, POLLIN, 0}, {signals.poll_fd(), POLLIN, 0}}};
  if (::poll(set.data(), set.size(), kEveryMs) <= 0) return std::nullopt;
  while (const auto signal = signals.next()) {
    if (is_ending_signal(*signal)) return kExitSignalBase + *signal;
  }
  if (set[0].revents != 0 && ends_by_key()) return 0;
  return std::nullopt;
}

// However it ends, the terminal is left as it was.
Result<int> watch() {
  auto signals = SignalSource::take_over();
  if (!signals) return std::unexpected(signals.error());
  const auto raw = RawTerminal::enter(STDIN_FILENO);
  print(kEnterScreen);
  std::optional<int> end;
  while (!end) {
    const auto fleet = look_at_fleet();
    if (!fleet) {
      print(kLeaveScreen);
      return std::unexpected(fleet.error());
    }
    print(fit("thimble top: q ends it\n\n" + describe_fleet(*fleet)));
    end = await_next_look(*signals);
  }
  print(kLeaveScreen);
  return *end;
}

Result<int> show(bool json) {
  const auto fleet = look_at_fleet();
  if (!fleet) return std::unexpected(fleet.error());
  const std::string out =
      json ? fleet->dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"
           : describe_fleet(*fleet);
  std::fputs(out.c_str(), stdout);
  return 0;
}

int status_of(const Result<int>& status) {
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace

int status_command(const Arguments& arguments) {
  if (arguments.empty()) return status_of(show(false));
  if (arguments == Arguments{"--json"}) return status_of(show(true));
  if (arguments == Arguments{"--help"}) {
    std::puts("Usage: thimble status [--json]\n\nWhat runs: launched VMs, and the daemon's pool.");
    return 0;
  }
  return usage_error("thimble status", "it takes --json and nothing else");
}

// Where there is no terminal it shows the fleet once.
int top_command(const Arguments& arguments) {
  if (arguments == Arguments{"--help"}) {
    std::puts("Usage: thimble top\n\nWhat runs, once a second; q ends it.");
    return 0;
  }
  if (!arguments.empty()) return usage_error("thimble top", "it takes no arguments");
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  return status_of(terminal ? watch() : show(false));
}

}  // namespace thimble::cli
