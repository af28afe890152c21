// The server of a launched VM and two clients, one after the other: who hears what.
#include "tools/cli/client_turns.h"

#include <gtest/gtest.h>

#include "tools/cli/rpc_line.h"

namespace thimble::cli {
namespace {

std::string request(const std::string& id, const std::string& method = "tools/call") {
  return R"({"jsonrpc":"2.0","id":)" + id + R"(,"method":")" + method + "\"}\n";
}
std::string answer(const std::string& id, const std::string& words = "yes") {
  return R"({"jsonrpc":"2.0","result":{"text":")" + words + R"(","id":77},"id":)" + id + "}\n";
}
const std::string kNews = R"({"jsonrpc":"2.0","method":"notifications/message"})"
                          "\n";
const std::string kMethod5 = R"({"jsonrpc":"2.0","id":7,"method":5})"
                             "\n";
// What a server says of a line in which it finds no id.
const std::string kComplaint =
    R"({"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}})"
    "\n";

class Turns : public testing::Test {
 protected:
  Turns() { turns_.begin(); }
  void next_client() {
    ASSERT_FALSE(turns_.owes());
    turns_.begin();
  }
  ClientTurns turns_;
};

TEST_F(Turns, BytesPassUnchangedHoweverTheyAreCut) {
  const std::string asked = request("1") + request("\"a\"") + kNews + "text\n\n  {\"id\": 5 }\r\n";
  const std::string said = answer("1") + "log line\n" + kNews + answer("\"a\"") + "\t\n";
  for (size_t cut = 1; cut < 40; ++cut) {
    ClientTurns turns;
    turns.begin();
    std::string got;
    for (size_t at = 0; at < asked.size(); at += cut) {
      got += turns.from_client(std::string_view(asked).substr(at, cut));
    }
    EXPECT_EQ(got, asked) << cut;
    got.clear();
    for (size_t at = 0; at < said.size(); at += cut) {
      got += turns.from_server(std::string_view(said).substr(at, cut));
    }
    EXPECT_EQ(got, said) << cut;
  }
}

TEST_F(Turns, AnAnswerToOneWhoLeftIsNotTheNextOnes) {
  turns_.from_client(request("1") + request("2"));
  EXPECT_EQ(turns_.from_server(answer("1")), answer("1"));
  turns_.leave();
  EXPECT_TRUE(turns_.owes()) << "the next one waits";
  EXPECT_EQ(turns_.from_server(kNews), "");
  EXPECT_EQ(turns_.from_server(answer("2", "A's")), "");
  next_client();
  turns_.from_client(request("2"));
  EXPECT_EQ(turns_.from_server(answer("2", "B's")), answer("2", "B's"));
}

TEST_F(Turns, TheNextOneBeginsAtALinesBeginning) {
  const std::string line =
      R"({"method":"notifications/x","params":")" + std::string(2'000'000, 'x') + "\"}\n";
  EXPECT_EQ(turns_.from_server(line.substr(0, 1'000'000)), "");
  turns_.leave();
  next_client();
  EXPECT_EQ(turns_.from_server(line.substr(1'000'000) + kNews), kNews);
}

TEST_F(Turns, TextToo) {
  EXPECT_EQ(turns_.from_server("half a "), "half a ");
  turns_.leave();
  next_client();
  EXPECT_EQ(turns_.from_server("line\nwhole\n"), "whole\n");
}

TEST_F(Turns, HalfARequestNeverReachesTheServer) {
  const std::string half = request("1").substr(0, 20);
  EXPECT_EQ(turns_.from_client(half), "");
  EXPECT_EQ(turns_.leave(), "");
  EXPECT_FALSE(turns_.owes());
  next_client();
  EXPECT_EQ(turns_.from_client(request("2")), request("2"));
}

TEST_F(Turns, HalfALineOfTextIsEnded) {
  EXPECT_EQ(turns_.from_client("hal"), "hal");
  EXPECT_EQ(turns_.leave(), "\n");
  EXPECT_EQ(turns_.leave(), "");
}

TEST_F(Turns, TheLastLineOfOneThatHasSaidAllNeedsNoNewline) {
  std::string last = request("1");
  last.pop_back();
  EXPECT_EQ(turns_.from_client(last), "");
  EXPECT_EQ(turns_.end_input(), last + "\n");
  EXPECT_EQ(turns_.end_input(), "");
  EXPECT_EQ(turns_.from_server(answer("1")), answer("1"));
}

TEST_F(Turns, WithNobodyThereAllIsDropped) {
  turns_.leave();
  EXPECT_EQ(turns_.from_server(kNews + request("9", "roots/list") + answer("4") + "text\n{"), "");
  next_client();
  EXPECT_EQ(turns_.from_server("}\n" + kNews), kNews);
}

TEST_F(Turns, RequestsOfTheServersReachTheClientAndAreNotOwed) {
  EXPECT_EQ(turns_.from_server(request("9", "roots/list")), request("9", "roots/list"));
  EXPECT_EQ(turns_.from_client(answer("9")), answer("9"));
  EXPECT_FALSE(turns_.owes());
}

TEST_F(Turns, ACancelledRequestIsNeitherWaitedForNorAnswered) {
  turns_.from_client(request("5"));
  turns_.from_client(R"({"method":"notifications/cancelled","params":{"reason":"x","requestId":5}})"
                     "\n");
  EXPECT_FALSE(turns_.owes());
  EXPECT_EQ(turns_.from_server(answer("5")), "");
}

TEST_F(Turns, ABatchIsAsManyRequests) {
  turns_.from_client(R"([{"id":1,"method":"a"},{"method":"b"},{"id":2,"method":"c"}])"
                     "\n");
  turns_.leave();
  EXPECT_EQ(turns_.from_server("[" + answer("2").substr(0, answer("2").size() - 1) + "]\n"), "");
  EXPECT_TRUE(turns_.owes());
  turns_.from_server(answer("1"));
  EXPECT_FALSE(turns_.owes());
}

TEST_F(Turns, TheSameIdTwiceIsTwoAnswers) {
  turns_.from_client(request("1") + request("1"));
  turns_.from_server(answer("1"));
  EXPECT_TRUE(turns_.owes());
}

TEST_F(Turns, AnswersToWhatWeCannotReadStillArrive) {
  EXPECT_EQ(turns_.from_client("{\"id\": 1, \"method\": \"a\", \"x\": NaN}\n"),
            "{\"id\": 1, \"method\": \"a\", \"x\": NaN}\n");
  EXPECT_EQ(turns_.from_server(answer("1")), answer("1"));
  EXPECT_EQ(turns_.from_server(answer("null")), answer("null"));
  turns_.leave();
  next_client();
  EXPECT_EQ(turns_.from_server(answer("null")), "");
}

TEST_F(Turns, WhatTheServerSaysOfABadLineArrives) {
  for (const char* line :
       {R"({"foo":1})", R"({"jsonrpc":"2.0","id":null,"method":"x"})", "not json", "{bad", "[]"}) {
    EXPECT_EQ(turns_.from_client(std::string(line) + "\n"), std::string(line) + "\n");
    EXPECT_EQ(turns_.from_server(kComplaint), kComplaint) << line;
    turns_.leave();
    next_client();
  }
  turns_.from_client(kMethod5);
  EXPECT_EQ(turns_.from_server(answer("7")), answer("7"));
  turns_.from_client("not json\n");
  EXPECT_EQ(turns_.from_server("{\"error\":{}}\n"), "{\"error\":{}}\n") << "without any id";
}

TEST_F(Turns, ABadLineWithAnIdKeepsTheNextOneWaiting) {
  for (const std::string& line : {kMethod5, std::string("{\"id\":7,\"method\":\"a\",\xff}\n")}) {
    for (const std::string& said : {answer("7", "A's"), kComplaint}) {
      turns_.from_client(line);
      turns_.leave();
      EXPECT_TRUE(turns_.owes());
      EXPECT_EQ(turns_.from_server(said), "");
      next_client();
      turns_.from_client(request("7"));
      EXPECT_EQ(turns_.from_server(answer("7", "B's")), answer("7", "B's"));
    }
  }
}

TEST_F(Turns, ALateComplaintIsNotTheNextOnes) {
  for (const char* line : {"{\"foo\":1}\n", "not json\n", "\n", " \n", "not js"}) {
    turns_.from_client(line);
    turns_.leave();
    next_client();
    turns_.from_client("not json\n");
    EXPECT_EQ(turns_.from_server(kComplaint), "") << line;
    EXPECT_EQ(turns_.from_server(kComplaint), kComplaint) << line;
  }
}

TEST_F(Turns, AComplaintThatCameWithNobodyThereIsOver) {
  turns_.from_client("not json\n");
  turns_.leave();
  EXPECT_EQ(turns_.from_server(kComplaint), "");
  next_client();
  turns_.from_client("not json\n");
  EXPECT_EQ(turns_.from_server(kComplaint), kComplaint);
}

TEST_F(Turns, AfterTheAnswerToALaterRequestComplaintsAreOfTheOneThere) {
  turns_.from_client("\n\n\n");  // about which most servers say nothing
  turns_.leave();
  next_client();
  turns_.from_client(request("1"));
  EXPECT_EQ(turns_.from_server(kComplaint), "");
  EXPECT_EQ(turns_.from_server(answer("1")), answer("1"));
  turns_.from_client("not json\n");
  EXPECT_EQ(turns_.from_server(kComplaint), kComplaint);
}

TEST_F(Turns, ALateBatchOfComplaintsIsNotTheNextOnes) {
  turns_.from_client("[1,2]\n");
  turns_.leave();
  next_client();
  turns_.from_client("not json\n");
  EXPECT_EQ(turns_.from_server(R"([{"id":null,"error":1},{"id":null,"error":1}])"
                               "\n"),
            "");
}

TEST_F(Turns, ALineWithoutEndIsDroppedAndToldOnce) {
  const std::string chunk(1 << 20, 'x');
  turns_.from_server("{\"");
  for (size_t i = 0; i <= ClientTurns::kMaxLine; i += chunk.size()) turns_.from_server(chunk);
  EXPECT_TRUE(turns_.too_long());
  EXPECT_FALSE(turns_.too_long());
  EXPECT_EQ(turns_.from_server("\"}\n" + kNews), kNews);
}

TEST(RpcLine, TellsRequestsNotificationsAndAnswersApart) {
  using Kind = RpcMessage::Kind;
  const auto only = [](std::string_view line) { return read_rpc_line(line).value().at(0); };
  EXPECT_EQ(only(R"({"id":1,"method":"x","params":{"id":2}})").kind, Kind::kRequest);
  EXPECT_EQ(only(R"({"id":1,"method":"x","params":{"id":2}})").id, "n1");
  EXPECT_EQ(only(R"({"method":"x"})").kind, Kind::kNotification);
  EXPECT_EQ(only(R"({"id":1,"method":""})").kind, Kind::kRequest);
  EXPECT_EQ(only(R"({"result":{"method":"x"},"id":"1"})").kind, Kind::kAnswer);
  EXPECT_EQ(only(R"({"result":[[{"id":3}]],"id":"1"})").id, "s1");
  EXPECT_EQ(only(R"({"id":1.0,"result":0})").id, "n1");
  EXPECT_EQ(only(R"({"id":1.5,"result":0})").id, "n1.5");
  EXPECT_EQ(only(R"({"id":18446744073709551615,"result":0})").id, "n18446744073709551615");
}

TEST(RpcLine, TakesNothingForAnAnswerThatIsNone) {
  using Kind = RpcMessage::Kind;
  const auto only = [](std::string_view line) { return read_rpc_line(line).value().at(0); };
  for (const char* line :
       {R"({"jsonrpc":"2.0","id":7,"method":5})", R"({"foo":1})", R"({"id":7})",
        R"({"jsonrpc":"2.0","id":null,"method":"x"})", R"({"id":[1],"method":"x"})",
        R"({"id":true,"method":"x"})", R"({"id":7,"method":5,"result":{}})", "{}",
        R"({"id":7,"method":"x","id":null})", R"({"id":7,"method":"x","method":[]})"}) {
    EXPECT_EQ(only(line).kind, Kind::kUnclear) << line;
  }
  EXPECT_EQ(only(R"({"jsonrpc":"2.0","id":7,"method":5})").id, "n7");
  EXPECT_EQ(only(R"({"id":7,"method":"x","id":null})").id, "");
  EXPECT_EQ(only(R"({"id":null,"error":{"id":4}})").kind, Kind::kAnswer);
  EXPECT_EQ(only(R"({"id":null,"error":{"id":4}})").id, "");
}

TEST(RpcLine, HostileLinesCostNothingButTheirTime) {
  std::string deep(300'000, '[');
  EXPECT_FALSE(read_rpc_line(deep));
  EXPECT_EQ(read_rpc_line(deep + std::string(300'000, ']')).value().size(), 0U);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"id":)";
  EXPECT_FALSE(read_rpc_line(objects));
  for (const char* line : {"", "{", "\xff\xfe", "{\"id\":1,}", "{} {}", "nul"}) {
    EXPECT_FALSE(read_rpc_line(line)) << line;
  }
  EXPECT_EQ(read_rpc_line("5").value().size(), 0U);
}

}  // namespace
}  // namespace thimble::cli
