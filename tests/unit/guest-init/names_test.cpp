// What init answers to questions for names, also to those that are no questions.
#include "guest-init/names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace thimble::init {
namespace {

using Message = std::vector<unsigned char>;

constexpr unsigned char kA = 1;
constexpr unsigned char kAaaa = 28;
constexpr unsigned char kTxt = 16;

// A question for "a.b.c" of this type, as resolvers send it.
Message question(const std::string& name, unsigned char type) {
  Message message = {0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0};
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    message.push_back(static_cast<unsigned char>(end - at));
    message.insert(message.end(), name.begin() + static_cast<std::ptrdiff_t>(at),
                   name.begin() + static_cast<std::ptrdiff_t>(end));
    at = end + 1;
  }
  message.insert(message.end(), {0, 0, type, 0, 1});
  return message;
}

// Empty when nothing is answered.
Message answer(Message message) {
  const size_t size = message.size();
  message.resize(512);
  message.resize(answer_question(message.data(), size, message.size()));
  return message;
}

int code(const Message& message) { return message.size() < 12 ? -1 : message[3] & 0x0f; }

TEST(Names, NoNameExists) {
  const Message asked = question("api.example.com", kA);
  const Message got = answer(asked);
  ASSERT_EQ(got.size(), asked.size());
  EXPECT_EQ(Message(got.begin(), got.begin() + 12),
            (Message{0xab, 0xcd, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_TRUE(std::equal(asked.begin() + 12, asked.end(), got.begin() + 12));
}

TEST(Names, LocalhostIsThisMachine) {
  for (const char* name : {"localhost", "LocalHost", "db.localhost"}) {
    const Message four = answer(question(name, kA));
    EXPECT_EQ(code(four), 0) << name;
    EXPECT_EQ(Message(four.end() - 6, four.end()), (Message{0, 4, 127, 0, 0, 1})) << name;
    const Message six = answer(question(name, kAaaa));
    EXPECT_EQ(six.back(), 1) << name;
    EXPECT_EQ(six.size(), four.size() + 12) << name;
    EXPECT_EQ(six[7], 1) << name;
  }
  const Message text = answer(question("localhost", kTxt));
  EXPECT_EQ(code(text), 0);
  EXPECT_EQ(text[7], 0);
  EXPECT_EQ(code(answer(question("localhost.example.com", kA))), 3);
  EXPECT_EQ(code(answer(question("xlocalhost", kA))), 3);
}

TEST(Names, WhatComesBehindTheQuestionIsLeftOut) {
  Message asked = question("example.com", kA);
  const size_t size = asked.size();
  asked[11] = 1;  // one further record: EDNS
  asked.insert(asked.end(), {0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0});
  const Message got = answer(asked);
  EXPECT_EQ(got.size(), size);
  EXPECT_EQ(got[11], 0);
}

TEST(Names, TheRootIsNoName) { EXPECT_EQ(code(answer(question("", kA))), 3); }

TEST(Names, AnswersAreNotAnswered) {
  Message asked = question("example.com", kA);
  asked[2] |= 0x80;
  EXPECT_TRUE(answer(asked).empty());
  EXPECT_TRUE(answer({}).empty());
  EXPECT_TRUE(answer(Message(11, 0)).empty());
}

TEST(Names, WhatIsNoQuestionIsRefused) {
  Message notify = question("example.com", kA);
  notify[2] |= 0x20;
  EXPECT_EQ(code(answer(notify)), 4);
  Message none = question("example.com", kA);
  none[5] = 0;
  EXPECT_EQ(code(answer(none)), 1);
  Message two = question("example.com", kA);
  two[5] = 2;
  EXPECT_EQ(code(answer(two)), 1);
  Message pointer = question("example.com", kA);
  pointer[12] = 0xc0;
  EXPECT_EQ(code(answer(pointer)), 1);
  EXPECT_EQ(answer(pointer).size(), 12U);
}

TEST(Names, EveryCutOfAQuestionIsRefusedAndNeverReadBeyond) {
  const Message whole = question("localhost", kAaaa);
  for (size_t size = 12; size < whole.size(); ++size) {
    Message cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(answer_question(cut.data(), size, size), 12U) << size;
    EXPECT_EQ(cut[3] & 0x0f, 1) << size;
  }
}

TEST(Names, AnAddressThatDoesNotFitIsLeftOut) {
  Message asked = question("localhost", kAaaa);
  EXPECT_EQ(answer_question(asked.data(), asked.size(), asked.size()), asked.size());
  EXPECT_EQ(asked[7], 0);
}

TEST(Names, ANameThatIsTooLongIsNone) {
  std::string name;
  for (int i = 0; i < 5; ++i) name += std::string(62, 'a') + ".";
  EXPECT_EQ(code(answer(question(name + "com", kA))), 1);
}

}  // namespace
}  // namespace thimble::init
