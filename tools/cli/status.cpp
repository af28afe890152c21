// `thimble status` and `thimble top`.
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "mcp-agent/server_run.h"
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

// Keys that end it: q, Ctrl-C, Ctrl-D. True when one came within the time.
bool asked_to_end() {
  pollfd typed{STDIN_FILENO, POLLIN, 0};
  if (::poll(&typed, 1, kEveryMs) != 1) return false;
  char key = 0;
  const ssize_t n = ::read(STDIN_FILENO, &key, 1);
  return n <= 0 || key == 'q' || key == 3 || key == 4;
}

Result<int> watch() {
  const auto raw = RawTerminal::enter(STDIN_FILENO);
  print(kEnterScreen);
  std::string trouble;
  do {
    const auto fleet = look_at_fleet();
    if (!fleet) {
      trouble = fleet.error().message;
      break;
    }
    print(fit("thimble top: q ends it\n\n" + describe_fleet(*fleet)));
  } while (!asked_to_end());
  print(kLeaveScreen);
  if (!trouble.empty()) return fail(trouble);
  return 0;
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
