// Byte flows between every kind of descriptor a user may have, and readers that stall or go.
#include "mcp-agent/byte_flow.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

#include "mcp-agent/stdio_bridge.h"
#include "pool/vm/vm_process.h"

namespace thimble {
namespace {

struct Pipe {
  Fd reader;
  Fd writer;
};

Pipe make_pipe() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

std::string random_bytes(size_t n) {
  std::mt19937_64 random(7);
  std::string out(n, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

// One round of poll() and serve(); false when nothing happened within `wait` milliseconds.
bool turn(ByteFlow& flow, int wait = 5000) {
  std::array<pollfd, 2> set{flow.source_entry(), flow.sink_entry()};
  if (::poll(set.data(), set.size(), wait) <= 0) return false;
  flow.serve(set[0].revents, set[1].revents);
  return true;
}

void pump(ByteFlow& flow) {
  while (!flow.done() && turn(flow)) {
  }
}

std::string read_all(int fd) {
  std::string out;
  std::array<char, 65536> chunk{};
  for (ssize_t n = 0; (n = ::read(fd, chunk.data(), chunk.size())) > 0;) {
    out.append(chunk.data(), static_cast<size_t>(n));
  }
  return out;
}

class ByteFlowTest : public testing::Test {
 protected:
  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }
};

TEST_F(ByteFlowTest, MegabytesComeOutAsTheyWentInThroughASmallBuffer) {
  auto in = make_pipe();
  auto out = make_stream_pair();
  ASSERT_TRUE(out);
  const std::string sent = random_bytes(8 << 20);
  std::thread writer([&] {
    for (size_t at = 0; at < sent.size();) {
      at += static_cast<size_t>(::write(in.writer.get(), sent.data() + at, sent.size() - at));
    }
    in.writer.reset();
  });
  std::string got;
  std::thread reader([&] { got = read_all(out->second.get()); });
  ByteFlow flow(Endpoint::user_input(in.reader.get()), Endpoint::stream(std::move(out->first)),
                10007);
  pump(flow);
  writer.join();
  reader.join();
  EXPECT_TRUE(flow.done());
  EXPECT_EQ(got, sent);
}

TEST_F(ByteFlowTest, AStalledSinkStopsTheReadingOfTheSource) {
  auto in = make_stream_pair();
  auto out = make_pipe();
  ASSERT_TRUE(in);
  ByteFlow flow(Endpoint::stream(std::move(in->first)),
                Endpoint::user_output(out.writer.get(), false), 4096);
  size_t written = 0;
  const std::string chunk(4096, 'x');
  for (int idle = 0; idle < 3;) {
    const ssize_t n = ::send(in->second.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n > 0) written += static_cast<size_t>(n);
    idle = turn(flow, 50) || n > 0 ? 0 : idle + 1;
  }
  EXPECT_LE(flow.buffered(), 4096U);
  EXPECT_LT(written, 2U << 20) << "the sender feels the stalled reader";
  in->second.reset();
  std::string got;
  std::thread reader([&] { got = read_all(out.reader.get()); });
  pump(flow);
  out.writer.reset();
  reader.join();
  EXPECT_EQ(got.size(), written);
}

TEST_F(ByteFlowTest, AFullDiskIsNoReaderThatLeft) {
  auto in = make_pipe();
  const Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ByteFlow flow(Endpoint::user_input(in.reader.get()),
                Endpoint::user_output(full.get(), /*keep=*/true));
  ASSERT_EQ(::write(in.writer.get(), "ok\n", 3), 3);
  turn(flow);
  turn(flow);
  EXPECT_TRUE(flow.done()) << "a stream with a gap in it is worse than none";
  EXPECT_TRUE(flow.cut_off());
  EXPECT_EQ(flow.error(), ENOSPC);
  EXPECT_EQ(flow.written(), 0U);
}

TEST_F(ByteFlowTest, AFlowThatGoesOnCountsWhatItLosesAndWritesAgainWhenItCan) {
  auto in = make_pipe();
  const std::string path = testing::TempDir() + "byte_flow." + std::to_string(::getpid());
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4, before.rlim_max};
  ByteFlow flow(Endpoint::user_input(in.reader.get()), Endpoint::user_output(file.get(), true),
                ByteFlow::kDefaultCapacity, ByteFlow::OnError::kGoOn);
  const auto pass = [&](std::string_view line) {
    EXPECT_EQ(::write(in.writer.get(), line.data(), line.size()),
              static_cast<ssize_t>(line.size()));
    turn(flow);
    for (int i = 0; i < 3 && flow.buffered() > 0; ++i) turn(flow);
  };
  ::setrlimit(RLIMIT_FSIZE, &small);
  pass("123\n");
  pass("lost\n");
  EXPECT_EQ(flow.error(), EFBIG);
  EXPECT_EQ(flow.lost(), 5U);
  EXPECT_FALSE(flow.recovered());
  ::setrlimit(RLIMIT_FSIZE, &before);
  pass("456\n");
  EXPECT_TRUE(flow.recovered());
  EXPECT_FALSE(flow.done());
  std::array<char, 64> bytes{};
  EXPECT_EQ(::pread(file.get(), bytes.data(), bytes.size(), 0), 8);
  EXPECT_STREQ(bytes.data(), "123\n456\n");
  ::unlink(path.c_str());
}

TEST_F(ByteFlowTest, AReaderThatLeftIsNoError) {
  auto in = make_pipe();
  auto out = make_pipe();
  ByteFlow flow(Endpoint::user_input(in.reader.get()),
                Endpoint::user_output(out.writer.get(), true));
  out.reader.reset();
  turn(flow);
  EXPECT_TRUE(flow.cut_off());
  EXPECT_EQ(flow.error(), 0);
}

TEST_F(ByteFlowTest, WritersThatAreGoneAreNoticedThoughNothingMoreIsRead) {
  auto in = make_pipe();
  auto out = make_pipe();
  ByteFlow flow(Endpoint::user_input(in.reader.get()),
                Endpoint::user_output(out.writer.get(), true), 1024);
  const std::string much(65536, 'x');
  ::fcntl(out.writer.get(), F_SETPIPE_SZ, 4096);
  ASSERT_EQ(::write(in.writer.get(), much.data(), much.size()), 65536);
  for (int i = 0; i < 20 && turn(flow, 50); ++i) {
  }
  EXPECT_FALSE(flow.input_over());
  in.writer.reset();
  turn(flow, 50);
  EXPECT_TRUE(flow.input_over());
  EXPECT_FALSE(turn(flow, 50)) << "nothing to do: it must not spin";
  EXPECT_FALSE(flow.cut_off());
}

TEST_F(ByteFlowTest, TheFlagsOfTheUsersOpenFilesStayAsTheyWere) {
  auto out = make_pipe();
  auto in = make_stream_pair();
  ASSERT_TRUE(in);
  const int before = ::fcntl(out.writer.get(), F_GETFL);
  {
    ByteFlow flow(Endpoint::stream(std::move(in->first)),
                  Endpoint::user_output(out.writer.get(), true));
    (void)!::write(in->second.get(), "x", 1);
    turn(flow);
    EXPECT_EQ(::fcntl(out.writer.get(), F_GETFL), before);
  }
}

TEST_F(ByteFlowTest, AReaderThatIsGoneClosesTheSourceEvenWhileNothingFlows) {
  auto in = make_stream_pair();
  auto out = make_pipe();
  ASSERT_TRUE(in);
  ByteFlow flow(Endpoint::stream(std::move(in->first)),
                Endpoint::user_output(out.writer.get(), false));
  out.reader.reset();
  pump(flow);
  EXPECT_TRUE(flow.done());
  EXPECT_LT(::send(in->second.get(), "x", 1, MSG_NOSIGNAL), 0) << "the guest's side gets a reset";
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(ByteFlowTest, AServerThatClosedItsStdinClosesTheUsersPipe) {
  auto in = make_pipe();
  auto out = make_stream_pair();
  ASSERT_TRUE(out);
  ByteFlow flow(Endpoint::user_input(in.reader.get()), Endpoint::stream(std::move(out->first)));
  out->second.reset();
  pump(flow);
  EXPECT_TRUE(flow.done());
  EXPECT_LT(::write(in.writer.get(), "x", 1), 0) << "as if the server itself had held the pipe";
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(ByteFlowTest, TheEndOfTheServersOutputIsSeenByTheUsersReader) {
  auto in = make_stream_pair();
  auto out = make_pipe();
  ASSERT_TRUE(in);
  (void)!::write(in->second.get(), "last", 4);
  ::shutdown(in->second.get(), SHUT_WR);
  ByteFlow flow(Endpoint::stream(std::move(in->first)),
                Endpoint::user_output(out.writer.get(), false));
  pump(flow);
  EXPECT_EQ(read_all(out.reader.get()), "last");
  EXPECT_GE(::fcntl(out.writer.get(), F_GETFD), 0) << "the number stays taken";
}

TEST_F(ByteFlowTest, AKeptDescriptorStaysOpenAfterTheEnd) {
  auto in = make_stream_pair();
  auto out = make_pipe();
  ASSERT_TRUE(in);
  in->second.reset();
  ByteFlow flow(Endpoint::stream(std::move(in->first)),
                Endpoint::user_output(out.writer.get(), /*keep=*/true));
  pump(flow);
  EXPECT_EQ(::write(out.writer.get(), "ours", 4), 4);
  std::array<char, 8> got{};
  EXPECT_EQ(::read(out.reader.get(), got.data(), got.size()), 4);
}

TEST_F(ByteFlowTest, InputFromAFileOrTheNullDeviceEnds) {
  std::array<char, 32> path{"/tmp/thimble-flow-XXXXXX"};
  const Fd file(::mkstemp(path.data()));
  ASSERT_TRUE(file);
  ::unlink(path.data());
  ASSERT_EQ(::write(file.get(), "from a file", 11), 11);
  ::lseek(file.get(), 0, SEEK_SET);
  const Fd null(::open("/dev/null", O_RDWR));
  for (const auto& [fd, expected] : {std::pair{file.get(), "from a file"}, {null.get(), ""}}) {
    auto out = make_stream_pair();
    ASSERT_TRUE(out);
    ByteFlow flow(Endpoint::user_input(fd), Endpoint::stream(std::move(out->first)));
    pump(flow);
    EXPECT_TRUE(flow.done());
    EXPECT_EQ(read_all(out->second.get()), expected);
  }
}

TEST_F(ByteFlowTest, AFileTakesOutputWhereItsOffsetIs) {
  std::array<char, 32> path{"/tmp/thimble-flow-XXXXXX"};
  const Fd file(::mkstemp(path.data()));
  ASSERT_TRUE(file);
  ::unlink(path.data());
  ASSERT_EQ(::write(file.get(), "before ", 7), 7);
  auto in = make_stream_pair();
  ASSERT_TRUE(in);
  (void)!::write(in->second.get(), "after", 5);
  in->second.reset();
  ByteFlow flow(Endpoint::stream(std::move(in->first)), Endpoint::user_output(file.get(), true));
  pump(flow);
  ::lseek(file.get(), 0, SEEK_SET);
  EXPECT_EQ(read_all(file.get()), "before after");
}

TEST_F(ByteFlowTest, TheUsersSocketsWorkBothWays) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const Fd user(ends[0]);
  const Fd client(ends[1]);
  auto to_server = make_stream_pair();
  ASSERT_TRUE(to_server);
  ASSERT_EQ(::write(client.get(), "ping", 4), 4);
  ::shutdown(client.get(), SHUT_WR);
  ByteFlow in(Endpoint::user_input(user.get()), Endpoint::stream(std::move(to_server->first)));
  pump(in);
  EXPECT_EQ(read_all(to_server->second.get()), "ping");
}

TEST_F(ByteFlowTest, ATerminalTakesOutputAndItsHangUpEndsTheFlow) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_TRUE(master);
  ASSERT_EQ(::grantpt(master.get()), 0);
  ASSERT_EQ(::unlockpt(master.get()), 0);
  const Fd terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(terminal);
  auto in = make_stream_pair();
  ASSERT_TRUE(in);
  ByteFlow flow(Endpoint::stream(std::move(in->first)),
                Endpoint::user_output(terminal.get(), false));
  (void)!::write(in->second.get(), "hi", 2);
  turn(flow);
  std::array<char, 8> got{};
  EXPECT_EQ(::read(master.get(), got.data(), got.size()), 2);
  master.reset();
  pump(flow);
  EXPECT_TRUE(flow.done());
}

TEST_F(ByteFlowTest, EndingTheInputEarlyStillDeliversWhatWasRead) {
  auto in = make_pipe();
  auto out = make_stream_pair();
  ASSERT_TRUE(out);
  ByteFlow flow(Endpoint::user_input(in.reader.get()), Endpoint::stream(std::move(out->first)));
  (void)!::write(in.writer.get(), "abc", 3);
  turn(flow);
  flow.end_input();
  flow.serve(0, 0);
  EXPECT_TRUE(flow.done());
  EXPECT_EQ(read_all(out->second.get()), "abc");
}

TEST(ByteFlow, RemembersTheFirstBytesAndPassesAllOn) {
  const std::string bytes = random_bytes(300'000);
  Pipe out = make_pipe();
  Pipe in = make_pipe();
  std::thread writer([&] {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::write(in.writer.get(), bytes.data() + at, bytes.size() - at);
      ASSERT_GT(n, 0);
      at += static_cast<size_t>(n);
    }
    in.writer.reset();
  });
  std::string received;
  std::thread reader([&] { received = read_all(out.reader.get()); });
  {
    ByteFlow flow(Endpoint::user_input(in.reader.get()),
                  Endpoint::user_output(out.writer.get(), /*keep=*/true));
    flow.remember(1000);
    pump(flow);
    EXPECT_EQ(flow.remembered(), bytes.substr(0, 1000));
  }
  out.writer.reset();
  writer.join();
  reader.join();
  EXPECT_EQ(received, bytes);
}

TEST(InputKind, OnlyPipesAndSocketsAreClients) {
  auto pipe = make_pipe();
  auto stream = make_stream_pair();
  const Fd null(::open("/dev/null", O_RDONLY));
  const Fd file(::open("/proc/self/exe", O_RDONLY));
  EXPECT_TRUE(input_is_a_client(pipe.reader.get()));
  EXPECT_TRUE(input_is_a_client(stream->first.get()));
  EXPECT_FALSE(input_is_a_client(null.get()));
  EXPECT_FALSE(input_is_a_client(file.get()));
  EXPECT_FALSE(input_is_a_client(-1));
}

TEST_F(ByteFlowTest, OfAServersStderrMarksWhatLooksLikeOurs) {
  auto streams = make_stream_pair();
  ASSERT_TRUE(streams);
  Pipe user = make_pipe();
  ByteFlow flow(Endpoint::stream(std::move(streams->first)),
                Endpoint::user_output(user.writer.get(), /*keep=*/true));
  flow.mark_lines();
  const std::string bytes = random_bytes(1000) + "\nthimble: error: a fake\nhalf a line";
  ASSERT_EQ(::send(streams->second.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  streams->second.reset();
  pump(flow);
  EXPECT_TRUE(flow.leave_line());
  EXPECT_FALSE(flow.leave_line());
  user.writer.reset();
  EXPECT_EQ(read_all(user.reader.get()),
            random_bytes(1000) + "\nthimble(server): error: a fake\nhalf a line");
}

}  // namespace
}  // namespace thimble
