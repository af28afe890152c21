// See say.h.
#include "tools/cli/say.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "devices/printable.h"

namespace thimble::cli {

namespace {

constexpr size_t kMaxLine = 4096;
constexpr const char* kPrefix = "thimble: ";

bool stderr_takes() {
  constexpr int kTimeoutMs = 200;
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  return ::poll(&ready, 1, kTimeoutMs) == 1 && (ready.revents & POLLOUT) != 0;
}

// Only here is the reason known: stdio keeps that something failed, not what (close_stdout.h).
void put(std::string_view bytes) {
  if (std::ferror(stdout) != 0) return;
  errno = 0;
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) return std::clearerr(stdout);  // nobody reads on
  say(std::string("stdout: ") + std::strerror(errno));
}

template <class Json>
std::string dump(const Json& value) {
  return value.dump(2, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
}

}  // namespace

void say(std::string_view line) {
  if (stderr_takes()) log(kPrefix, line);
}

void pass_on(std::string_view bytes) { (void)!::write(STDERR_FILENO, bytes.data(), bytes.size()); }

void end_line() {
  if (stderr_takes()) (void)!::write(STDERR_FILENO, "\n", 1);
}

void log(std::string_view prefix, std::string_view line) {
  const std::string out = std::string(prefix) + as_line(line);
  (void)!::write(STDERR_FILENO, out.data(), out.size());
}

void print(std::string_view line) { put(as_line(line)); }
void print_json(const nlohmann::json& value) { put(as_json(value)); }
void print_json(const nlohmann::ordered_json& value) { put(as_json(value)); }
void print_text(const char* text) { put(text); }
void explain(const char* text) { std::fputs(text, stderr); }

std::string as_line(std::string_view line) { return printable(line, kMaxLine) + "\n"; }
std::string as_json(const nlohmann::json& value) { return dump(value); }
std::string as_json(const nlohmann::ordered_json& value) { return dump(value); }

}  // namespace thimble::cli
