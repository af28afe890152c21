// `thimble status` and `thimble top`.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "devices/printable.h"
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

void draw(std::string_view bytes) { (void)!::write(STDOUT_FILENO, bytes.data(), bytes.size()); }

// As many lines as the terminal has, each cut at its width.
std::string fit(const std::vector<std::string>& lines) {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) size = {24, 80, 0, 0};
  std::string out = kHome;
  for (size_t row = 0; row + 1 < size.ws_row && row < lines.size(); ++row) {
    const std::string shown = lines[row].substr(0, size.ws_col);
    out += printable(shown) + kClearLine + "\r\n";
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
  draw(kEnterScreen);
  std::optional<int> end;
  while (!end) {
    const auto fleet = look_at_fleet();
    if (!fleet) {
      draw(kLeaveScreen);
      return std::unexpected(fleet.error());
    }
    std::vector<std::string> lines = describe_fleet(*fleet);
    lines.insert(lines.begin(), {"thimble top: q ends it", ""});
    draw(fit(lines));
    end = await_next_look(*signals);
  }
  draw(kLeaveScreen);
  return *end;
}

Result<int> show(bool json) {
  const auto fleet = look_at_fleet();
  if (!fleet) return std::unexpected(fleet.error());
  if (json) return print_json(*fleet), 0;
  for (const std::string& line : describe_fleet(*fleet)) print(line);
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
  if (asks_for_help(arguments)) {
    print_text(
        "Usage: thimble status [--json]\n\nWhat runs: launched VMs, and the daemon's pool.\n\n"
        "Example:\n  thimble status --json | jq '.launched[].name'\n");
    return 0;
  }
  return usage_error("thimble status", "it takes --json and nothing else");
}

// Where there is no terminal it shows the fleet once.
int top_command(const Arguments& arguments) {
  if (asks_for_help(arguments)) {
    print_text("Usage: thimble top\n\nWhat runs, once a second; q ends it.\n");
    return 0;
  }
  if (!arguments.empty()) return usage_error("thimble top", "it takes no arguments");
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  return status_of(terminal ? watch() : show(false));
}

}  // namespace thimble::cli
