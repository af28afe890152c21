// A request that goes to the builder and comes back is the same; what is no request is told apart.
#include "pool/image/request_words.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

// Every field set, and bytes in it that are no text.
Request full_request() {
  Request request;
  request.kind = Request::Kind::kHostPath;
  request.name = "host:\xff\n name";
  request.npm = {"@scope/server", "^1.2 || \"x\""};
  request.node = NodeSource::kSystem;
  request.path = "/srv/\xc3(/a b";
  request.only = {"", "one", "two\nlines"};
  request.links = {{"from", "../to"}, {"\x80", ""}};
  request.folders = {"empty"};
  request.uid = 1000;
  request.gid = 4294967295;
  request.leave_out_git = true;
  request.command = {"node", "server.js"};
  request.guest_root = GuestRoot{"/tmp/archive.tar", "{\"a\": 1}\n", ""};
  return request;
}

void expect_equal(const Request& one, const Request& other) {
  EXPECT_EQ(one.kind, other.kind);
  EXPECT_EQ(one.name, other.name);
  EXPECT_EQ(one.npm.name, other.npm.name);
  EXPECT_EQ(one.npm.range, other.npm.range);
  EXPECT_EQ(one.node, other.node);
  EXPECT_EQ(one.path, other.path);
  EXPECT_EQ(one.only, other.only);
  EXPECT_EQ(one.links, other.links);
  EXPECT_EQ(one.folders, other.folders);
  EXPECT_EQ(one.uid, other.uid);
  EXPECT_EQ(one.gid, other.gid);
  EXPECT_EQ(one.leave_out_git, other.leave_out_git);
  EXPECT_EQ(one.command, other.command);
  ASSERT_EQ(one.guest_root.has_value(), other.guest_root.has_value());
  if (!one.guest_root) return;
  EXPECT_EQ(one.guest_root->archive, other.guest_root->archive);
  EXPECT_EQ(one.guest_root->manifest, other.guest_root->manifest);
  EXPECT_EQ(one.guest_root->inputs, other.guest_root->inputs);
}

TEST(RequestWordsTest, EveryFieldComesBack) {
  for (const Request& request : {Request(), full_request()}) {
    const Result<Request> back = request_from_words(request_to_words(request));
    ASSERT_TRUE(back) << back.error().message;
    expect_equal(*back, request);
  }
}

TEST(RequestWordsTest, WhatIsCutShortOrTooLongIsNone) {
  const std::string words = request_to_words(full_request());
  for (std::size_t length = 0; length < words.size(); ++length) {
    EXPECT_FALSE(request_from_words(std::string_view(words).substr(0, length))) << length;
  }
  EXPECT_FALSE(request_from_words(words + "x"));
  EXPECT_FALSE(request_from_words(words + std::string(1, '\0')));
}

TEST(RequestWordsTest, NumbersThatNothingBacksAreRefused) {
  // kind, name, npm's two, node, path, then how many files.
  const auto with = [](const std::string& kind, const std::string& count) {
    std::string words;
    for (const std::string& word : {kind, std::string("n"), std::string(), std::string(),
                                    std::string("0"), std::string("/p"), count}) {
      (words += word) += '\0';
    }
    return words + std::string(64, '\0');
  };
  for (const char* kind : {"-1", "6", "99999999999999999999", "x", "1x"}) {
    EXPECT_FALSE(request_from_words(with(kind, "0"))) << kind;
  }
  for (const char* count : {"18446744073709551615", "1000000000", "-1"}) {
    EXPECT_FALSE(request_from_words(with("3", count))) << count;
  }
}

}  // namespace
}  // namespace thimble::image
