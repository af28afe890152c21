// The detached builder's log: foreign text cannot change what a record says.
#include "pool/image/build_log.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

using Kind = BuildRecord::Kind;

// As a waiter takes it from the file.
BuildRecord through(Kind kind, std::string_view text) {
  const std::string line = to_line(kind, text);
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
  return parse_record(std::string_view(line).substr(0, line.size() - 1));
}

TEST(BuildLog, RecordsComeBackAsTheyWere) {
  EXPECT_EQ(through(Kind::kProgress, "writing the erofs image").text, "writing the erofs image");
  EXPECT_EQ(through(Kind::kError, "disk full").kind, Kind::kError);
  EXPECT_EQ(through(Kind::kError, "disk full").text, "disk full");
  EXPECT_EQ(through(Kind::kProgress, "").kind, Kind::kProgress);
}

TEST(BuildLog, AFileNameFakesNoErrorOfAGoodBuild) {
  for (const char* name : {"error: no", "x\nerror: no", "x\ne no", "e no", "\n", "\r\ne no\n"}) {
    const BuildRecord record = through(Kind::kProgress, std::string("bundled ") + name);
    EXPECT_EQ(record.kind, Kind::kProgress) << name;
    EXPECT_TRUE(record.text.starts_with("bundled ")) << name;
    EXPECT_EQ(through(Kind::kProgress, name).kind, Kind::kProgress) << name;
  }
}

TEST(BuildLog, WhatATerminalObeysIsShown) {
  EXPECT_EQ(through(Kind::kError, "bin \033]0;x\a\nthimble: ready").text,
            "bin \\x1b]0;x\\x07\\x0athimble: ready");
}

TEST(BuildLog, WhatIsNoRecordIsPrintableProgress) {
  const BuildRecord record = parse_record("*** stack smashing \033[31mdetected");
  EXPECT_EQ(record.kind, Kind::kProgress);
  EXPECT_EQ(record.text, "*** stack smashing \\x1b[31mdetected");
  EXPECT_EQ(parse_record("").kind, Kind::kProgress);
  EXPECT_EQ(parse_record("e").kind, Kind::kProgress);
}

}  // namespace
}  // namespace thimble::image
