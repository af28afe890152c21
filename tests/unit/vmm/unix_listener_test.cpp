// The socket that host programs reach a guest by: whose path may be taken, and what is left behind.
#include "vmm/unix_listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <vector>

#include "tests/unit/vmm/test_memory.h"
#include "vmm/unix_socket.h"

namespace thimble {
namespace {

class UnixListenerTest : public testing::Test {
 protected:
  static bool exists(const std::string& path) {
    struct stat info{};
    return lstat(path.c_str(), &info) == 0;
  }
  test::TemporaryFolder folder_;
};

TEST_F(UnixListenerTest, ClientsConnectAndTheFileGoesWithTheListener) {
  const std::string path = folder_ / "vsock";
  {
    auto listener = UnixListener::bind(path);
    ASSERT_TRUE(listener) << listener.error().message;
    const Fd fd = listener->take();
    const auto client = connect_unix(path);
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_TRUE(Fd(accept(fd.get(), nullptr, nullptr)));
  }
  EXPECT_FALSE(exists(path));
}

TEST_F(UnixListenerTest, OnlyTheOwnerMayConnect) {
  const std::string path = folder_ / "vsock";
  const auto listener = UnixListener::bind(path);
  ASSERT_TRUE(listener);
  struct stat info{};
  ASSERT_EQ(lstat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 077, 0U);
}

TEST_F(UnixListenerTest, SocketLeftBehindByADeadProcessIsReplaced) {
  const std::string path = folder_ / "vsock";
  {
    const Fd dead(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::strcpy(address.sun_path, path.c_str());
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(dead.get(), 1), 0);
  }
  ASSERT_TRUE(exists(path));
  const auto listener = UnixListener::bind(path);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(connect_unix(path));
}

TEST_F(UnixListenerTest, SocketThatSomebodyServesIsRefusedAndStays) {
  const std::string path = folder_ / "vsock";
  const auto first = UnixListener::bind(path);
  ASSERT_TRUE(first);
  const auto second = UnixListener::bind(path);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("already"), std::string::npos) << second.error().message;
  EXPECT_TRUE(connect_unix(path));
}

// One that lets nobody in just now, or is of another type, is served all the same.
TEST_F(UnixListenerTest, SocketThatCannotBeConnectedToJustNowStays) {
  const std::string path = folder_ / "vsock";
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const auto served = listen_at(*unix_address(path), type, 0);
    ASSERT_TRUE(served);
    std::vector<Fd> waiting;
    while (type == SOCK_STREAM && waiting.size() < 100) {
      auto client = connect_unix(path);
      if (!client) break;
      waiting.push_back(std::move(*client));
    }
    EXPECT_FALSE(UnixListener::bind(path));
    EXPECT_TRUE(exists(path)) << type;
    ASSERT_EQ(::unlink(path.c_str()), 0);
  }
}

TEST_F(UnixListenerTest, FileFolderOrLinkInTheWayIsRefusedAndKept) {
  const std::string file = folder_ / "file";
  ASSERT_TRUE(Fd(open(file.c_str(), O_CREAT | O_WRONLY, 0600)));
  const std::string folder = folder_ / "folder";
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  const std::string link = folder_ / "link";
  ASSERT_EQ(symlink("/nonexistent/elsewhere", link.c_str()), 0);
  for (const std::string& path : {file, folder, link}) {
    const auto listener = UnixListener::bind(path);
    ASSERT_FALSE(listener) << path;
    EXPECT_NE(listener.error().message.find("in the way"), std::string::npos);
    EXPECT_TRUE(exists(path)) << path;
  }
}

TEST_F(UnixListenerTest, PathsThatNoSocketAddressHoldsAreRefused) {
  EXPECT_FALSE(UnixListener::bind(""));
  EXPECT_FALSE(connect_unix(""));
  const std::string longest(107, 'x');
  const auto too_long = UnixListener::bind(longest + "x");
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find("107"), std::string::npos);
  EXPECT_FALSE(connect_unix(longest + "x"));
}

TEST_F(UnixListenerTest, MissingFolderIsNamed) {
  const auto listener = UnixListener::bind(folder_ / "missing/vsock");
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().message.find("missing/vsock"), std::string::npos);
}

TEST_F(UnixListenerTest, MovedListenerRemovesItsFileOnce) {
  const std::string path = folder_ / "vsock";
  auto first = UnixListener::bind(path);
  ASSERT_TRUE(first);
  {
    const UnixListener second(std::move(*first));
    EXPECT_TRUE(exists(path));
  }
  EXPECT_FALSE(exists(path));
}

}  // namespace
}  // namespace thimble
