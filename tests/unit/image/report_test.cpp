// What comes out of the builder's jail, read as hostile.
#include "tools/image/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tools/image/channel.h"
#include "tools/image/fetch.h"

namespace thimble::image {
namespace {

TEST(ReportTest, ComesBackAsItWasWritten) {
  Report report;
  report.manifest.name = "npm:a@1";
  report.manifest.command = {"node", "/x"};
  report.inputs["npm"]["node_modules/a"]["integrity"] = "sha512-x";
  const Result<Report> read = report_from_text(report_to_text(report));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->manifest.name, "npm:a@1");
  EXPECT_EQ(read->manifest.command, report.manifest.command);
  EXPECT_EQ(read->inputs, report.inputs);
}

TEST(ReportTest, DamagedOnesAreRefused) {
  const std::string sound = report_to_text({});
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"),
        std::string(R"({"manifest":{},"inputs":{}})"),
        std::string(R"({"manifest":"{}","inputs":{}})"), sound.substr(0, sound.size() / 2),
        std::string(300'000, '['),
        R"({"manifest":"","inputs":)" + std::string(100'000, '[') + "}"}) {
    EXPECT_FALSE(report_from_text(text)) << text.substr(0, 60);
  }
  std::string deep = "{}";
  for (int level = 0; level < 200; ++level) deep.insert(0, R"({"a":)").append("}");
  const std::size_t inputs = sound.find("\"inputs\": {}");
  ASSERT_NE(inputs, std::string::npos) << sound;
  EXPECT_FALSE(report_from_text(std::string(sound).replace(inputs, 12, "\"inputs\":" + deep)));
}

TEST(FetchMessageTest, ComesBackAsItWasWritten) {
  const Fetch wanted{.kind = Fetch::Kind::kDebian, .names = {"libc6", "libstdc++6", "python3.11"}};
  const Result<Fetch> read = fetch_from_message(to_message(wanted));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->kind, wanted.kind);
  EXPECT_EQ(read->names, wanted.names);
  EXPECT_TRUE(fetch_from_message("package"));
  EXPECT_TRUE(fetch_from_message("pinned\nnode-linux-x64"));
}

TEST(FetchMessageTest, NothingButNamesOfPackagesIsTaken) {
  std::string many = "debian";
  for (int n = 0; n < 100; ++n) many += "\na";
  for (const std::string& message :
       {std::string(), std::string("other"), std::string("package\nx"), std::string("pinned"),
        std::string("pinned\na\nb"), std::string("debian"), std::string("debian\n-o=x"),
        std::string("debian\n../x"), std::string("debian\na b"), std::string("debian\nA"),
        std::string("debian\n./x.deb"), std::string("debian\na/b"), std::string("debian\na=1"),
        std::string("debian\n"), std::string("debian\na\n"), "debian\n" + std::string(101, 'a'),
        many}) {
    EXPECT_FALSE(fetch_from_message(message)) << message.substr(0, 40);
  }
}

TEST(ChannelTest, LongTextsAreCutAndNothingElseComes) {
  auto ends = make_channel();
  ASSERT_TRUE(ends);
  send_message(ends->second.get(), Message::kProgress, std::string(1 << 20, 'x'));
  const std::optional<Message> message = receive_message(ends->first.get());
  ASSERT_TRUE(message);
  EXPECT_EQ(message->kind, Message::kProgress);
  EXPECT_EQ(message->text.size(), 16U << 10);
  ends->second.reset();
  EXPECT_FALSE(receive_message(ends->first.get()));
}

}  // namespace
}  // namespace thimble::image
