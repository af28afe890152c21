// Lines of a server on the stderr that lines of ours go to.
#include "mcp-agent/server_lines.h"

#include <gtest/gtest.h>

namespace thimble {
namespace {

std::string pass(std::string_view bytes) { return ServerLines().pass(bytes); }

TEST(ServerLines, BytesPassUnchanged) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  for (const std::string& bytes :
       {all, std::string("a thimble: b\n"), std::string("thimbles: x\n"), std::string("thimble x:"),
        std::string("Thimble: x"), std::string("\n\n\nthimble"),
        std::string("\033[1mred\033[0m\n")}) {
    EXPECT_EQ(pass(bytes), bytes);
  }
}

TEST(ServerLines, ALineThatWouldLookLikeOursIsMarked) {
  EXPECT_EQ(pass("thimble: error: x\n"), "thimble(server): error: x\n");
  EXPECT_EQ(pass("a\nthimble: x\nthimble: y"), "a\nthimble(server): x\nthimble(server): y");
  EXPECT_EQ(pass("a\rthimble: x"), "a\rthimble(server): x");
  EXPECT_EQ(pass("\033[1mthimble\033[0m: x"), "\033[1mthimble\033[0m(server): x");
  EXPECT_EQ(pass("thi\amble: x"), "thi\amble(server): x");
}

TEST(ServerLines, HoweverItIsCut) {
  const std::string bytes = "a\nthimble: x\n\033[1;3mthimble: y\nthimble z";
  const std::string whole = pass(bytes);
  for (size_t size = 1; size < bytes.size(); ++size) {
    ServerLines lines;
    std::string out;
    for (size_t at = 0; at < bytes.size(); at += size) out += lines.pass(bytes.substr(at, size));
    EXPECT_EQ(out, whole) << size;
  }
}

// A pipe may take one byte at a time of what next() gives, the mark too.
TEST(ServerLines, HoweverItIsWritten) {
  const std::string bytes = "thimble: x\nthimble: y\n";
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
  ServerLines lines;
  std::string out;
  for (std::span<const uint8_t> waiting(begin, bytes.size()); !waiting.empty();) {
    out += static_cast<char>(lines.next(waiting)[0]);
    waiting = waiting.subspan(lines.wrote(waiting, 1));
  }
  EXPECT_EQ(out, "thimble(server): x\nthimble(server): y\n");
}

TEST(ServerLines, NothingWritten) {
  const std::string bytes = "thimble: x";
  const std::span<const uint8_t> waiting(reinterpret_cast<const uint8_t*>(bytes.data()),
                                         bytes.size());
  ServerLines lines;
  EXPECT_EQ(lines.wrote(waiting, 0), 0U);
  EXPECT_EQ(lines.pass(bytes), "thimble(server): x");
}

TEST(ServerLines, AnUnfinishedLineIsLeftOnce) {
  ServerLines lines;
  EXPECT_FALSE(lines.leave_line());
  (void)lines.pass("half a line");
  EXPECT_TRUE(lines.leave_line());
  EXPECT_FALSE(lines.leave_line());
  EXPECT_EQ(lines.pass("thimble: x\n"), "thimble(server): x\n") << "a line begins here now";
  EXPECT_FALSE(lines.leave_line());
}

}  // namespace
}  // namespace thimble
