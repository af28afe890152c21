// The console's stream: the event loop that writes to it never waits, whatever its reader does.
#include "pool/vm/console_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <thread>
#include <vector>

namespace thimble {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

class ConsoleStreamTest : public testing::Test {
 protected:
  ConsoleStreamTest() {
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    reader.reset(ends[0]);
    auto made = ConsoleStream::make(Fd(ends[1]));
    if (!made) std::abort();
    stream = std::move(*made);
    thread = std::thread([this] {
      stream->serve([this](std::string_view bytes) {
        const std::scoped_lock guard(lock);
        const size_t taken = std::min(bytes.size(), room);
        room -= taken;
        typed += bytes.substr(0, taken);
        return taken;
      });
    });
  }
  ~ConsoleStreamTest() override { stop(milliseconds(0)); }

  void stop(milliseconds timeout) {
    stream->stop(timeout);
    if (thread.joinable()) thread.join();
  }
  void write(std::string_view bytes) {
    stream->write({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  }
  // What arrives until the end, or until nothing more does for a while.
  std::string read_all() {
    std::string all;
    timeval timeout{.tv_sec = 0, .tv_usec = 200'000};
    setsockopt(reader.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    std::vector<char> bytes(65536);
    for (;;) {
      const ssize_t got = ::recv(reader.get(), bytes.data(), bytes.size(), 0);
      if (got <= 0) return all;
      all.append(bytes.data(), static_cast<size_t>(got));
    }
  }
  std::string typed_so_far() {
    const std::scoped_lock guard(lock);
    return typed;
  }

  Fd reader;
  std::unique_ptr<ConsoleStream> stream;
  std::thread thread;
  std::mutex lock;
  std::string typed;
  size_t room = SIZE_MAX;  // for what is typed
};

TEST_F(ConsoleStreamTest, BytesReachTheReaderInOrder) {
  write("one ");
  write("two ");
  write("three");
  EXPECT_EQ(read_all(), "one two three");
}

TEST_F(ConsoleStreamTest, BytesThatWaitFollowAsTheReaderTakesThem) {
  std::string sent;
  for (int i = 0; sent.size() < 400'000; ++i) sent += std::to_string(i) + "\n";
  write(sent);  // more than the socket takes, less than what may wait
  EXPECT_TRUE(read_all() == sent);
  EXPECT_EQ(stream->dropped(), 0U);
}

TEST_F(ConsoleStreamTest, AReaderThatSleepsNeitherBlocksTheWriterNorMakesItGrow) {
  const std::string block(65536, 'x');
  const auto begin = Clock::now();
  for (int i = 0; i < 1000; ++i) write(block);
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
  const uint64_t dropped = stream->dropped();
  // What the socket took and what waits are bounded; all the rest is gone.
  EXPECT_GT(dropped, 1000 * block.size() - ConsoleStream::kMaxWaiting - (4U << 20));

  const std::string came = read_all();
  const auto gap = came.find("[thimble: " + std::to_string(dropped) + " bytes");
  ASSERT_NE(gap, std::string::npos) << "the reader is told how much it missed";
  EXPECT_EQ(came.find_first_not_of('x'), gap - 2);
  EXPECT_EQ(gap - 2, 1000 * block.size() - dropped);
  write("after");
  EXPECT_EQ(read_all(), "after");
}

TEST_F(ConsoleStreamTest, EachGapIsToldOnce) {
  const std::string block(4U << 20, 'x');
  write(block);
  read_all();
  write(block);
  const std::string came = read_all();
  EXPECT_NE(came.find("[thimble: "), std::string::npos);
  EXPECT_EQ(came.find("[thimble: "), came.rfind("[thimble: "));
}

TEST_F(ConsoleStreamTest, TypedBytesAreHandedOverAlsoWhileOutputWaits) {
  write(std::string(4U << 20, 'x'));
  ASSERT_EQ(::send(reader.get(), "hello", 5, 0), 5);
  for (int i = 0; i < 500 && typed_so_far().empty(); ++i) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_EQ(typed_so_far(), "hello");
}

TEST_F(ConsoleStreamTest, AGuestThatReadsNothingStopsTheTypistAndLosesNothing) {
  {
    const std::scoped_lock guard(lock);
    room = 1000;
  }
  std::string all;
  for (int i = 0; all.size() < 4'000'000; ++i) all += std::to_string(i) + "\n";
  size_t sent = 0;
  const auto send_some = [&] {
    const ssize_t n = ::send(reader.get(), all.data() + sent, all.size() - sent, MSG_DONTWAIT);
    if (n > 0) sent += static_cast<size_t>(n);
    std::this_thread::sleep_for(milliseconds(1));
  };
  for (int i = 0; i < 50; ++i) send_some();
  EXPECT_LT(sent, all.size()) << "the typist feels it";
  EXPECT_EQ(typed_so_far().size(), 1000U);
  for (int i = 0; i < 10'000 && typed_so_far().size() < all.size(); ++i) {
    {
      const std::scoped_lock guard(lock);
      room = 50'000;
    }
    stream->typing_room();
    send_some();
  }
  EXPECT_TRUE(typed_so_far() == all);
}

TEST_F(ConsoleStreamTest, TheEndOfWhatIsTypedDoesNotEndTheOutput) {
  ::shutdown(reader.get(), SHUT_WR);
  std::this_thread::sleep_for(milliseconds(20));
  write("still here");
  EXPECT_EQ(read_all(), "still here");
}

TEST_F(ConsoleStreamTest, AReaderThatIsGoneCostsNothing) {
  reader.reset();
  for (int i = 0; i < 100; ++i) write(std::string(65536, 'x'));
  EXPECT_EQ(stream->dropped(), 0U);
  stop(milliseconds(60'000));  // nothing to wait for
}

TEST_F(ConsoleStreamTest, StopWaitsForLastWordsButNotForEver) {
  write(std::string(2U << 20, 'x'));
  const auto begin = Clock::now();
  stop(milliseconds(100));
  const auto took = Clock::now() - begin;
  EXPECT_GE(took, milliseconds(100));
  EXPECT_LT(took, std::chrono::seconds(5));
}

}  // namespace
}  // namespace thimble
