// Decoding of control messages, well formed and hostile.
#include "guest-init/codec.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "tests/unit/guest-init/fields.h"

namespace thimble::init {
namespace {

using test::Fields;
using test::raw;

// The payload gets an allocation of exactly its size, so that tools see any step outside.
class Decoding : public testing::Test {
 protected:
  const char* start(const std::string& bytes) {
    return decode_start(copy(bytes), bytes.size(), start_);
  }
  const char* configure(const std::string& bytes) {
    return decode_configure(copy(bytes), bytes.size(), configure_);
  }
  char* copy(const std::string& bytes) {
    payload_ = std::make_unique<char[]>(bytes.size());
    std::memcpy(payload_.get(), bytes.data(), bytes.size());
    return payload_.get();
  }

  std::unique_ptr<char[]> payload_;
  Start start_;
  Configure configure_;
};

protocol::Mount mount_of(const char* source, const char* fstype, const char* target) {
  protocol::Mount mount = {};
  std::strncpy(mount.source, source, sizeof mount.source - 1);
  std::strncpy(mount.fstype, fstype, sizeof mount.fstype - 1);
  std::strncpy(mount.target, target, sizeof mount.target - 1);
  return mount;
}

TEST_F(Decoding, StartKeepsArgumentsAndVariablesInOrder) {
  Fields fields;
  fields.add(protocol::kTagArgument, "node")
      .add(protocol::kTagEnvironment, "A=1")
      .add(protocol::kTagArgument, "")
      .add(protocol::kTagArgument, "last")
      .add(protocol::kTagEnvironment, "B=")
      .add(protocol::kTagWorkdir, "/app")
      .add(protocol::kTagUser, "1000:1000")
      .add_u32(protocol::kTagStdinGrace, 5000)
      .add_u32(protocol::kTagTermGrace, 2000);
  ASSERT_EQ(start(fields.bytes()), nullptr);
  ASSERT_EQ(start_.argument_count, 3u);
  EXPECT_STREQ(start_.arguments[0], "node");
  EXPECT_STREQ(start_.arguments[1], "");
  EXPECT_STREQ(start_.arguments[2], "last");
  EXPECT_EQ(start_.arguments[3], nullptr);
  EXPECT_STREQ(start_.environment[0], "A=1");
  EXPECT_STREQ(start_.environment[1], "B=");
  EXPECT_EQ(start_.environment[2], nullptr);
  EXPECT_STREQ(start_.workdir, "/app");
  EXPECT_STREQ(start_.user, "1000:1000");
  EXPECT_EQ(start_.stdin_grace_ms, 5000u);
  EXPECT_EQ(start_.term_grace_ms, 2000u);
}

TEST_F(Decoding, StartHasDefaultsForWhatIsAbsent) {
  ASSERT_EQ(start(Fields().add(protocol::kTagArgument, "x").bytes()), nullptr);
  EXPECT_STREQ(start_.workdir, "/");
  EXPECT_EQ(start_.user, nullptr);
  EXPECT_EQ(start_.stdin_grace_ms, 0u);
  EXPECT_EQ(start_.rlimit_count, 0u);
}

TEST_F(Decoding, StartWithoutACommandIsRefused) { EXPECT_NE(start(""), nullptr); }

TEST_F(Decoding, StartRefusesHostileFields) {
  const auto with = [](uint16_t tag, std::string_view value) {
    return Fields().add(protocol::kTagArgument, "x").add(tag, value).bytes();
  };
  EXPECT_NE(start(with(protocol::kTagArgument, std::string_view("a\0b", 3))), nullptr);
  EXPECT_NE(start(with(protocol::kTagEnvironment, "NOVALUE")), nullptr);
  EXPECT_NE(start(with(protocol::kTagEnvironment, "=value")), nullptr);
  EXPECT_NE(start(with(protocol::kTagEnvironment, "")), nullptr);
  EXPECT_NE(start(with(protocol::kTagWorkdir, "relative")), nullptr);
  EXPECT_NE(start(with(protocol::kTagWorkdir, "")), nullptr);
  EXPECT_NE(start(with(protocol::kTagUser, "")), nullptr);
  EXPECT_NE(start(with(protocol::kTagRlimit, "short")), nullptr);
  EXPECT_NE(start(with(protocol::kTagStdinGrace, "abc")), nullptr);
  EXPECT_NE(start(with(protocol::kTagStdinGrace, "abcde")), nullptr);
  EXPECT_NE(start(with(protocol::kTagHostname, "x")), nullptr);
  EXPECT_NE(start(with(999, "x")), nullptr);
}

TEST_F(Decoding, StartRefusesASingularFieldThatComesTwice) {
  const uint16_t tags[] = {protocol::kTagWorkdir, protocol::kTagUser};
  for (const uint16_t tag : tags) {
    Fields fields;
    fields.add(protocol::kTagArgument, "x").add(tag, "/a").add(tag, "/a");
    EXPECT_NE(start(fields.bytes()), nullptr) << tag;
  }
}

TEST_F(Decoding, StartTakesExactlyTheLargestNumberOfArguments) {
  Fields fields;
  for (uint32_t i = 0; i < protocol::kMaxArguments; ++i) fields.add(protocol::kTagArgument, "a");
  EXPECT_EQ(start(fields.bytes()), nullptr);
  EXPECT_EQ(start_.arguments[protocol::kMaxArguments], nullptr);
  fields.add(protocol::kTagArgument, "one more");
  EXPECT_NE(start(fields.bytes()), nullptr);
}

TEST_F(Decoding, StartRefusesTooManyVariablesAndLimits) {
  Fields variables;
  variables.add(protocol::kTagArgument, "x");
  for (uint32_t i = 0; i <= protocol::kMaxEnvironment; ++i) {
    variables.add(protocol::kTagEnvironment, "a=b");
  }
  EXPECT_NE(start(variables.bytes()), nullptr);
  Fields limits;
  limits.add(protocol::kTagArgument, "x");
  for (uint32_t i = 0; i <= protocol::kMaxRlimits; ++i) {
    limits.add(protocol::kTagRlimit, raw(protocol::Rlimit{7, 1, 1}));
  }
  EXPECT_NE(start(limits.bytes()), nullptr);
}

TEST_F(Decoding, EveryCutOfAMessageIsRefusedOrShorter) {
  Fields fields;
  fields.add(protocol::kTagArgument, "command").add(protocol::kTagWorkdir, "/a/b");
  const std::string whole = fields.bytes();
  const size_t first_field = sizeof(protocol::FieldHeader) + 7;
  for (size_t size = 0; size < whole.size(); ++size) {
    const bool accepted = start(whole.substr(0, size)) == nullptr;
    EXPECT_EQ(accepted, size == first_field) << size;
  }
}

TEST_F(Decoding, AFieldThatOverrunsItsFrameIsRefused) {
  const uint32_t lengths[] = {8, 0x7fffffff, 0xfffffff8, 0xffffffff};
  for (const uint32_t length : lengths) {
    const protocol::FieldHeader header{protocol::kTagArgument, 0, length};
    EXPECT_NE(start(raw(header) + "seven b"), nullptr) << length;
  }
}

TEST_F(Decoding, AReservedFieldThatIsNotZeroIsRefused) {
  EXPECT_NE(start(raw(protocol::FieldHeader{protocol::kTagArgument, 1, 1}) + "x"), nullptr);
}

TEST_F(Decoding, ConfigureTakesIdentityAndMounts) {
  Fields fields;
  fields.add(protocol::kTagHostname, "box")
      .add_u64(protocol::kTagWallClock, 1'700'000'000'000'000'001)
      .add(protocol::kTagEntropy, std::string(64, 'e'))
      .add(protocol::kTagMount, raw(mount_of("/dev/vdb", "erofs", "/app")));
  ASSERT_EQ(configure(fields.bytes()), nullptr);
  EXPECT_STREQ(configure_.hostname, "box");
  EXPECT_TRUE(configure_.has_wall_clock);
  EXPECT_EQ(configure_.wall_clock_ns, 1'700'000'000'000'000'001u);
  EXPECT_EQ(configure_.entropy.size, 64u);
  ASSERT_EQ(configure_.mount_count, 1u);
  EXPECT_STREQ(configure_.mounts[0].target, "/app");
}

TEST_F(Decoding, AnEmptyConfigureIsWellFormed) {
  EXPECT_EQ(configure(""), nullptr);
  EXPECT_EQ(configure_.hostname, nullptr);
  EXPECT_FALSE(configure_.has_wall_clock);
}

TEST_F(Decoding, ConfigureRefusesHostileFields) {
  protocol::Mount endless = mount_of("/dev/vdb", "erofs", "/app");
  std::memset(endless.target, 'a', sizeof endless.target);
  endless.target[0] = '/';
  const auto field = [](uint16_t tag, std::string_view value) {
    return Fields().add(tag, value).bytes();
  };
  EXPECT_NE(configure(field(protocol::kTagMount, raw(endless))), nullptr);
  EXPECT_NE(configure(field(protocol::kTagMount, raw(mount_of("a", "b", "app")))), nullptr);
  EXPECT_NE(configure(field(protocol::kTagMount, raw(mount_of("a", "b", "")))), nullptr);
  EXPECT_NE(configure(field(protocol::kTagMount, "short")), nullptr);
  EXPECT_NE(configure(field(protocol::kTagHostname, "")), nullptr);
  EXPECT_NE(configure(field(protocol::kTagHostname, std::string(65, 'h'))), nullptr);
  EXPECT_NE(configure(field(protocol::kTagEntropy, std::string(513, 'e'))), nullptr);
  EXPECT_NE(configure(field(protocol::kTagWallClock, "1234567")), nullptr);
  EXPECT_NE(configure(field(protocol::kTagArgument, "x")), nullptr);
}

TEST_F(Decoding, ConfigureRefusesTooManyMounts) {
  Fields fields;
  for (uint32_t i = 0; i <= protocol::kMaxMounts; ++i) {
    fields.add(protocol::kTagMount, raw(mount_of("/dev/vdb", "erofs", "/app")));
  }
  EXPECT_NE(configure(fields.bytes()), nullptr);
}

TEST_F(Decoding, SignalTakesOnlyRealSignals) {
  const auto decode = [this](uint32_t number) {
    Signal signal{};
    const std::string bytes = Fields().add_u32(protocol::kTagSignal, number).bytes();
    return decode_signal(copy(bytes), bytes.size(), signal) == nullptr && signal.number > 0;
  };
  EXPECT_TRUE(decode(15));
  EXPECT_TRUE(decode(64));
  EXPECT_FALSE(decode(0));
  EXPECT_FALSE(decode(65));
  EXPECT_FALSE(decode(0xffffffff));
}

TEST_F(Decoding, PingTakesExactlyOneNonce) {
  uint64_t nonce = 0;
  std::string bytes = Fields().add_u64(protocol::kTagNonce, 42).bytes();
  EXPECT_EQ(decode_ping(copy(bytes), bytes.size(), nonce), nullptr);
  EXPECT_EQ(nonce, 42u);
  bytes += bytes;
  EXPECT_NE(decode_ping(copy(bytes), bytes.size(), nonce), nullptr);
  EXPECT_NE(decode_ping(copy(""), 0, nonce), nullptr);
}

TEST(FrameHeader, RefusesLongFramesUnknownTypesAndReservedBits) {
  EXPECT_EQ(check_header({0, protocol::kPing, 0}), nullptr);
  EXPECT_EQ(check_header({protocol::kMaxPayload, protocol::kStart, 0}), nullptr);
  EXPECT_NE(check_header({protocol::kMaxPayload + 1, protocol::kStart, 0}), nullptr);
  EXPECT_NE(check_header({0xffffffff, protocol::kStart, 0}), nullptr);
  EXPECT_NE(check_header({0, 0, 0}), nullptr);
  EXPECT_NE(check_header({0, protocol::kHello, 0}), nullptr);
  EXPECT_NE(check_header({0, 0xffff, 0}), nullptr);
  EXPECT_NE(check_header({0, protocol::kPing, 1}), nullptr);
}

TEST(FrameWriter, WritesWhatTheOtherSideReads) {
  FrameWriter writer(protocol::kFailed);
  writer.add_u32(protocol::kTagErrno, 2).add_text(protocol::kTagText, "exec node");
  const Bytes bytes = writer.finish();
  const std::string_view view(bytes.data, bytes.size);
  const std::string expected =
      Fields().add_u32(protocol::kTagErrno, 2).add(protocol::kTagText, "exec node").bytes();
  EXPECT_EQ(view, test::frame(protocol::kFailed, expected));
}

TEST(FrameWriter, CutsATextThatDoesNotFit) {
  const std::string text(5000, 'x');
  FrameWriter writer(protocol::kNotice);
  writer.add_text(protocol::kTagText, text.c_str());
  writer.add_u32(protocol::kTagErrno, 1);
  const Bytes bytes = writer.finish();
  EXPECT_EQ(bytes.size, 1024u);
  protocol::FrameHeader header;
  std::memcpy(&header, bytes.data, sizeof header);
  EXPECT_EQ(header.length, bytes.size - sizeof header);
}

TEST_F(Decoding, RandomPayloadsNeverReachOutside) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Often a plausible first header, so that decoding gets further than the first check.
    if (round % 2 && bytes.size() >= sizeof(protocol::FieldHeader)) {
      const protocol::FieldHeader header{static_cast<uint16_t>(10 + random() % 17), 0,
                                         static_cast<uint32_t>(random() % 100)};
      std::memcpy(bytes.data(), &header, sizeof header);
    }
    (void)start(bytes);
    (void)configure(bytes);
  }
}

}  // namespace
}  // namespace thimble::init
