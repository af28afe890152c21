// The one rule for output: whatever is in a line, it is one line, and a terminal obeys none of it.
#include "tools/cli/say.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "devices/fd.h"
#include "devices/foreign_json.h"
#include "tools/cli/fleet.h"

namespace thimble::cli {
namespace {

constexpr const char* kHostile = "bin\033[2J\nthimble: error: all is lost\r\u202e\xff";
constexpr const char* kShown = "bin\\x1b[2J\\x0athimble: error: all is lost\\x0d\\u202e\\xff";

// What `write` writes to descriptor `number`.
template <class Function>
std::string written_to(int number, const Function& write) {
  std::fflush(nullptr);
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const Fd kept(::fcntl(number, F_DUPFD_CLOEXEC, 10));
  ::dup2(ends[1], number);
  ::close(ends[1]);
  write();
  ::dup2(kept.get(), number);
  const Fd read(ends[0]);
  std::string bytes(65536, 0);
  bytes.resize(
      static_cast<size_t>(std::max<ssize_t>(::read(ends[0], bytes.data(), bytes.size()), 0)));
  return bytes;
}

TEST(Say, WhatOthersWroteIsOneLineOfOurs) {
  const std::string said = written_to(STDERR_FILENO, [] { say(std::string("image ") + kHostile); });
  EXPECT_EQ(said, std::string("thimble: image ") + kShown + "\n");
  EXPECT_EQ(written_to(STDERR_FILENO, [] { log("daemon: ", kHostile); }),
            std::string("daemon: ") + kShown + "\n");
  EXPECT_EQ(written_to(STDOUT_FILENO, [] { print(kHostile); }), std::string(kShown) + "\n");
}

TEST(Say, ALineIsBounded) { EXPECT_LT(as_line(std::string(1 << 20, '\n')).size(), 20'000U); }

TEST(Say, JsonOfAnyBytesIsJsonAndPlain) {
  const nlohmann::json value = {{"name", kHostile}, {"nested", {{"\xfe\033", "\x7f\u009b"}}}};
  const std::string out = written_to(STDOUT_FILENO, [&] { print_json(value); });
  for (const char c : out) EXPECT_TRUE((c >= 0x20 && c < 0x7f) || c == '\n') << int{c};
  const auto back = read_foreign_json(out);
  ASSERT_TRUE(back.is_object());
  EXPECT_EQ(back["name"], "bin\033[2J\nthimble: error: all is lost\r\u202e\ufffd");
}

TEST(Say, AFleetWithHostileNamesIsATable) {
  const nlohmann::json fleet = {
      {"daemon", {{"pid", 1}, {"uptime_s", 1}, {"clients", 1}}},
      {"templates", {{{"template", kHostile}, {"failing", kHostile}}}},
      {"vms", {{{"vm", 1}, {"template", kHostile}, {"state", kHostile}}}},
      {"launched", {{{"name", kHostile}, {"state", kHostile}, {"command", kHostile}}}}};
  for (const std::string& line : describe_fleet(fleet)) {
    EXPECT_EQ(line.find_first_of("\n\r\033"), std::string::npos) << line;
    EXPECT_EQ(as_line(line), line + "\n");
  }
}

}  // namespace
}  // namespace thimble::cli
