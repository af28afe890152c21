// Hostile text on its way to a terminal, and hostile JSON.
#include "devices/printable.h"

#include <gtest/gtest.h>

#include "devices/foreign_json.h"

namespace thimble {
namespace {

TEST(Printable, NothingThatATerminalObeysComesThrough) {
  EXPECT_EQ(printable("a\033[2Jb\r\n\x9b"), "a\\x1b[2Jb\\x0d\\x0a\\x9b");
  EXPECT_EQ(printable(std::string_view("\0\a\b\x7f", 4)), "\\x00\\x07\\x08\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m")
      << "CSI as a C1 control";
}

TEST(Printable, NothingThatHidesOrTurnsTextComesThrough) {
  EXPECT_EQ(printable("\u202egnp.exe"), "\\u202egnp.exe");
  EXPECT_EQ(printable("a\u2066b\u2069\u200f\u061c"), "a\\u2066b\\u2069\\u200f\\u061c");
  EXPECT_EQ(printable("a\u2028b\u2029c\u0085"), "a\\u2028b\\u2029c\\u0085");
  EXPECT_EQ(printable("\u200b\ufeff\U000e0041"), "\\u200b\\ufeff\\ue0041");
}

TEST(Printable, NothingThatIsNotSeenComesThrough) {
  EXPECT_EQ(printable("\u0600\u0605\u06dd\u070f\u0890\u0891\u08e2"),
            "\\u0600\\u0605\\u06dd\\u070f\\u0890\\u0891\\u08e2");
  EXPECT_EQ(printable("\U000110bd\U000110cd\U00013430\U0001343f"),
            "\\u110bd\\u110cd\\u13430\\u1343f");
  EXPECT_EQ(printable("\U0001bca0\U0001bca3\U0001d173\U0001d17a"),
            "\\u1bca0\\u1bca3\\u1d173\\u1d17a");
  EXPECT_EQ(printable("\ufe00\ufe0f\U000e0100\U000e01ef\U000e0000\U000e007f"),
            "\\ufe00\\ufe0f\\ue0100\\ue01ef\\ue0000\\ue007f");
  EXPECT_EQ(printable("\u2800\u17b4\u17b5\u034f\u180b"), "\\u2800\\u17b4\\u17b5\\u034f\\u180b");
  const std::string beside = "\u05ff\u0606\u06de\u0710\u17b3\u17b6\u27ff\u2801\ufe10\U0001d17b";
  EXPECT_EQ(printable(beside), beside);
}

TEST(Printable, WordsOfOtherLanguagesStay) {
  EXPECT_EQ(printable("Grüße, 世界 𝛼 é"), "Grüße, 世界 𝛼 é");
}

TEST(Printable, WhatIsNotUtf8IsShownByteByByte) {
  EXPECT_EQ(printable("\xff\xc0\x80"), "\\xff\\xc0\\x80");
  EXPECT_EQ(printable("\xe0\x80\x8a"), "\\xe0\\x80\\x8a") << "a newline, longer than need be";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond Unicode";
  EXPECT_EQ(printable("ok\xe4\xb8"), "ok\\xe4\\xb8") << "cut short";
  EXPECT_EQ(printable("\xe4\n\xb8"), "\\xe4\\x0a\\xb8");
}

TEST(Printable, TextThatWentThroughStaysTheSame) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  all += "\u202e世";
  const std::string once = printable(all, all.size());
  EXPECT_EQ(printable(once, once.size()), once);
  EXPECT_EQ(once.find_first_of("\n\r\033"), std::string::npos);
}

TEST(Printable, IsBoundedAndCutsBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 3), "abc…");
  EXPECT_EQ(printable("abc", 3), "abc");
  EXPECT_EQ(printable("a世b", 3), "a…");
  EXPECT_EQ(printable(std::string(100'000, '\n')).size(), 400 * 4 + 3U);
}

TEST(ForeignJson, ReadsWhatIsSound) {
  EXPECT_EQ(read_foreign_json(R"({"a": [1, "[[[[\"[["]})")["a"][0], 1);
  EXPECT_TRUE(read_foreign_json("").is_discarded());
  EXPECT_TRUE(read_foreign_json("{").is_discarded());
  EXPECT_TRUE(read_foreign_json("\"\xff\"").is_discarded()) << "not UTF-8";
}

TEST(ForeignJson, DepthIsLimited) {
  const auto nested = [](size_t depth, const char* open, const char* close) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += open;
    text += "1";
    for (size_t i = 0; i < depth; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(read_foreign_json(nested(kMaxJsonDepth, "[", "]")).is_array());
  EXPECT_TRUE(read_foreign_json(nested(kMaxJsonDepth + 1, "[", "]")).is_discarded());
  EXPECT_TRUE(read_foreign_json(nested(300'000, "[", "]")).is_discarded());
  EXPECT_TRUE(read_foreign_json(nested(300'000, "{\"a\":", "}")).is_discarded());
  EXPECT_TRUE(read_foreign_json(std::string(300'000, '[')).is_discarded()) << "without an end";
  EXPECT_TRUE(read_foreign_json("]]]]" + nested(300'000, "[", "]")).is_discarded());
  EXPECT_TRUE(read_foreign_json("{\"result\":" + nested(300'000, "[", "]") + "}").is_discarded());
}

TEST(ForeignJson, BracketsInStringsAreNoDepth) {
  EXPECT_TRUE(read_foreign_json("[\"\\\"" + std::string(1000, '[') + "\"]").is_array());
  EXPECT_TRUE(read_foreign_json("[\"\\\\\", [[1]]]").is_array());
}

TEST(ForeignJson, SizeIsLimited) {
  EXPECT_TRUE(read_foreign_json("[1, 2]", 6).is_array());
  EXPECT_TRUE(read_foreign_json("[1, 2]", 5).is_discarded());
}

}  // namespace
}  // namespace thimble
