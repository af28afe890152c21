// The daemon's socket: who gets in, what hostile clients do, and how it starts. Its VMs are not
// needed for that; tests/payload/daemon_test.cpp has them.
#include "pool/daemon/daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "pool/daemon/daemon_client.h"
#include "pool/daemon/daemon_start.h"
#include "pool/daemon/runtime_folder.h"
#include "vmm/jail/sanitized.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

// A daemon in a process of its own, in a folder of its own.
class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "thimble-daemon.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    end();
    fs::remove_all(folder_);
  }

  void start(DaemonOptions options = {}) {
    pid_ = ::fork();
    if (pid_ == 0) ::_exit(serve(std::move(options)));
    for (int i = 0; i < 1000 && !connect(); ++i) ::usleep(10000);
  }
  int serve(DaemonOptions options) {
    auto place = DaemonPlace::take(*OwnedFolder::open(folder_));
    if (!place) return 2;
    if (!*place) return 3;
    auto daemon = Daemon::create((*place)->listener(), std::move(options));
    return daemon && (*daemon)->run() ? 0 : 4;
  }
  int end(int signal = SIGKILL) {
    if (pid_ <= 0) return -1;
    ::kill(pid_, signal);
    return wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

  Fd connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (folder_ + "/daemon.sock");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(socket.get(), generic, sizeof address) != 0) return Fd();
    return socket;
  }
  static json receive(const Fd& socket) {
    std::string text(kMaxReply, 0);
    pollfd ready{socket.get(), POLLIN, 0};
    if (::poll(&ready, 1, 10000) != 1) return "nothing came";
    const ssize_t n = ::recv(socket.get(), text.data(), text.size(), 0);
    if (n <= 0) return "closed";
    return json::parse(text.substr(0, static_cast<size_t>(n)), nullptr, false);
  }
  json ask(const std::string& datagram) {
    const Fd socket = connect();
    (void)!::send(socket.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL);
    return receive(socket);
  }
  bool answers() { return ask(R"({"op":"status"})").value("ok", false); }

  std::string folder_;
  pid_t pid_ = -1;
};

TEST_F(DaemonTest, ItTellsWhatItHas) {
  start();
  const json status = ask(R"({"op":"status"})");
  EXPECT_EQ(status.value("pid", 0), pid_);
  EXPECT_TRUE(status["vms"].empty());
}

TEST(DaemonWire, WarmVmsMayHaveTheirEarlierName) {
  for (const char* name : {"warm_vms", "shells"}) {
    const auto request =
        parse_request(text(R"({"op":"warm","store":"/s","template":"a","%s":3})", name));
    ASSERT_TRUE(request) << name;
    EXPECT_EQ(request->warm_vms, 3U) << name;
  }
}

TEST_F(DaemonTest, WhatIsNoRequestIsRefusedAndItsConnectionClosed) {
  start();
  const std::string deep(4000, '[');
  for (const std::string& datagram :
       {std::string("x"), std::string("{}"), std::string("[]"), std::string("\0\0\0", 3), deep,
        std::string(R"({"op":7})"), std::string(R"({"op":"unknown"})"),
        std::string(R"({"op":"claim"})"), std::string(R"({"op":"claim","store":1,"template":2})"),
        std::string(R"({"op":"claim","store":"relative","template":"a"})"),
        std::string(R"({"op":"claim","store":"/s","template":"../a"})"),
        std::string(R"({"op":"claim","store":"/s","template":"a","console":"yes"})"),
        std::string(R"({"op":"warm","store":"/s","template":"a","warm_vms":-1})"),
        std::string(R"({"op":"warm","store":"/s","template":"a","warm_vms":1e9})"),
        std::string(R"({"op":"warm","store":"/s","template":"a"})"), std::string(5000, ' ')}) {
    const Fd socket = connect();
    ASSERT_GE(::send(socket.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL), 0);
    const json reply = receive(socket);
    ASSERT_TRUE(reply.is_object()) << datagram << ": " << reply;
    EXPECT_FALSE(reply.value("ok", true)) << datagram;
    EXPECT_EQ(reply.value("kind", ""), "request") << datagram;
    EXPECT_EQ(receive(socket), "closed") << datagram;
  }
  EXPECT_TRUE(answers());
}

TEST_F(DaemonTest, ATemplateThatIsNotThereIsRefusedWithItsName) {
  start();
  const json reply = ask(R"({"op":"claim","store":"/nowhere","template":"ghost"})");
  EXPECT_EQ(reply.value("kind", ""), "template");
  EXPECT_NE(reply.value("error", "").find("ghost"), std::string::npos);
}

TEST_F(DaemonTest, ASilentClientIsClosed) {
  DaemonOptions options;
  options.request_timeout = 200ms;
  start(std::move(options));
  const Fd silent = connect();
  EXPECT_EQ(receive(silent), "closed");
  EXPECT_TRUE(answers());
}

TEST_F(DaemonTest, TooManyClientsAreToldSoAndOthersLoseNothing) {
  DaemonOptions options;
  options.max_clients = 3;
  start(std::move(options));
  std::vector<Fd> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect());
    (void)!::send(clients.back().get(), R"({"op":"status"})", 15, 0);
    EXPECT_TRUE(receive(clients.back()).value("ok", false));
  }
  const Fd fourth = connect();
  EXPECT_EQ(receive(fourth).value("kind", ""), "limit");
  (void)!::send(clients[0].get(), R"({"op":"status"})", 15, 0);
  EXPECT_TRUE(receive(clients[0]).value("ok", false));
}

#ifndef THIMBLE_SANITIZED  // sanitizers need a descriptor themselves to look at memory
// It serves on with what it has, and does not ask for more again and again.
TEST_F(DaemonTest, AClientWaitsWhileTheDaemonHasNoDescriptorForIt) {
  constexpr rlim_t kDescriptors = 24;
  const Fd told(::memfd_create("told", MFD_CLOEXEC));
  DaemonOptions options;
  options.log = [file = told.get()](const std::string& line) {
    const rlimit few{kDescriptors, kDescriptors};  // for the process of the daemon
    ::setrlimit(RLIMIT_NOFILE, &few);
    if (line.find("has to wait") != std::string::npos) (void)!::write(file, "w", 1);
  };
  start(std::move(options));
  std::vector<Fd> clients;
  for (rlim_t i = 0; i < kDescriptors; ++i) clients.push_back(connect());
  (void)!::send(clients.front().get(), R"({"op":"status"})", 15, 0);
  EXPECT_TRUE(receive(clients.front()).value("ok", false));
  (void)!::send(clients.back().get(), R"({"op":"status"})", 15, 0);
  pollfd answer{clients.back().get(), POLLIN, 0};
  EXPECT_EQ(::poll(&answer, 1, 300), 0);
  const off_t times = ::lseek(told.get(), 0, SEEK_END);
  EXPECT_GE(times, 1);
  EXPECT_LE(times, 100);
  clients.erase(clients.begin(), clients.end() - 1);
  EXPECT_TRUE(receive(clients.back()).value("ok", false));
}
#endif

TEST_F(DaemonTest, AClientThatNeverReadsIsDroppedAndHoldsNobodyUp) {
  start();
  const Fd deaf = connect();
  ::fcntl(deaf.get(), F_SETFL, O_NONBLOCK);
  int refused = 0;
  for (int i = 0; i < 100000 && refused == 0; ++i) {
    if (::send(deaf.get(), R"({"op":"status"})", 15, MSG_NOSIGNAL) >= 0) continue;
    if (errno == EPIPE || errno == ECONNRESET) refused = errno;
    if (errno == EAGAIN) ::usleep(1000);
  }
  EXPECT_NE(refused, 0);
  EXPECT_TRUE(answers());
}

TEST_F(DaemonTest, DescriptorsThatAreSentToItAreNotTaken) {
  start();
  const auto held = [this] {
    return std::distance(fs::directory_iterator("/proc/" + std::to_string(pid_) + "/fd"), {});
  };
  ASSERT_TRUE(answers());
  const auto before = held();
  const Fd socket = connect();
  const std::array mine{STDIN_FILENO, STDERR_FILENO};
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(send_datagram(socket.get(), R"({"op":"status"})", mine));
    EXPECT_TRUE(receive(socket).value("ok", false));
  }
  EXPECT_LE(held(), before + 1);
}

// Another user would need to get into the folder first; this shows the second lock.
TEST_F(DaemonTest, AnotherUserIsTurnedAway) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  start();
  fs::permissions(folder_, fs::perms::all);
  fs::permissions((folder_ + "/daemon.sock"), fs::perms::all);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(9);
    const Fd socket = connect();
    ::_exit(socket && receive(socket) == "closed" ? 0 : 1);
  }
  int status = 0;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(answers());
}

TEST_F(DaemonTest, ASecondOneOfTheSameFolderEndsAtOnce) {
  start();
  ASSERT_TRUE(answers());
  EXPECT_EQ(serve({}), 3);
  EXPECT_TRUE(answers()) << "and the first keeps its socket";
}

TEST_F(DaemonTest, TheNextOneCleansUpAfterAKilledOne) {
  start();
  ASSERT_TRUE(answers());
  end(SIGKILL);
  EXPECT_TRUE(fs::exists((folder_ + "/daemon.sock"))) << "nobody could remove it";
  auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
  ASSERT_TRUE(client);
  EXPECT_FALSE(*client) << "nobody serves it";
  start();
  EXPECT_TRUE(answers());
}

TEST_F(DaemonTest, ASignalEndsItInOrder) {
  start();
  ASSERT_TRUE(answers());
  EXPECT_EQ(end(SIGTERM), 0);
  EXPECT_FALSE(fs::exists((folder_ + "/daemon.sock")));
}

TEST_F(DaemonTest, ARequestEndsIt) {
  start();
  EXPECT_TRUE(ask(R"({"op":"stop"})").value("ok", false));
  EXPECT_EQ(wait(), 0);
}

TEST_F(DaemonTest, ItEndsByItselfWhenItIsNotUsed) {
  DaemonOptions options;
  options.idle_exit = 1s;
  start(std::move(options));
  const Fd user = connect();
  (void)!::send(user.get(), R"({"op":"status"})", 15, 0);
  ASSERT_TRUE(receive(user).value("ok", false));
  ::usleep(2500000);
  EXPECT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0) << "somebody is connected";
  ::shutdown(user.get(), SHUT_RDWR);
  EXPECT_EQ(wait(), 0);
}

// ---- where it lies

class RuntimeFolderTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    for (const char* name :
         {"THIMBLE_RUNTIME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "THIMBLE_CACHE"}) {
      ::unsetenv(name);
    }
  }
  std::string make(const char* name, mode_t mode) {
    std::string path = folder_ + "/" + name;
    EXPECT_EQ(::mkdir(path.c_str(), mode), 0);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
};

TEST_F(RuntimeFolderTest, IsTheOneThatIsNamed) {
  ::setenv("THIMBLE_RUNTIME", (folder_ + "/named").c_str(), 1);
  EXPECT_EQ(runtime_folder()->path(), folder_ + "/named");
  ::setenv("THIMBLE_RUNTIME", "not/absolute", 1);
  EXPECT_FALSE(runtime_folder());
}

TEST_F(RuntimeFolderTest, IsRefusedWithTheMendWhereOthersCanEnterOrItIsALink) {
  ::setenv("THIMBLE_RUNTIME", make("open", 0755).c_str(), 1);
  const auto open = runtime_folder();
  ASSERT_FALSE(open);
  EXPECT_NE(open.error().message.find("chmod 700"), std::string::npos) << open.error().message;
  ASSERT_EQ(::symlink(folder_.c_str(), (folder_ + "/link").c_str()), 0);
  ::setenv("THIMBLE_RUNTIME", (folder_ + "/link").c_str(), 1);
  EXPECT_FALSE(runtime_folder());
}

TEST_F(RuntimeFolderTest, ThatAnotherUserHasTakenFirstIsRefusedAndSaysWhose) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a folder of somebody else";
  const std::string session = make("session", 0700);
  ::setenv("XDG_RUNTIME_DIR", session.c_str(), 1);
  ASSERT_EQ(::mkdir((session + "/thimble").c_str(), 0700), 0);
  ASSERT_EQ(::chown((session + "/thimble").c_str(), 4321, 4321), 0);
  const auto taken = runtime_folder();
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message.find("belongs to user 4321"), std::string::npos);
  EXPECT_NE(taken.error().message.find("THIMBLE_RUNTIME"), std::string::npos);
}

// Another user may make /tmp/thimble-UID as he likes: nobody looks there.
TEST_F(RuntimeFolderTest, IsInTheCacheWhereThereIsNoSession) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become a user without a session";
  fs::permissions(folder_, fs::perms::all);
  ::setenv("HOME", make("home", 0777).c_str(), 1);
  const pid_t user = ::fork();
  if (user == 0) {
    if (::setresgid(4321, 4321, 4321) != 0 || ::setresuid(4321, 4321, 4321) != 0) ::_exit(9);
    const auto folder = runtime_folder();
    ::_exit(folder && folder->path().starts_with(folder_ + "/home/.cache/thimble/run/") ? 0 : 1);
  }
  int status = 0;
  ::waitpid(user, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(RuntimeFolderTest, MayHaveALongPath) {
  folder_ += "/" + std::string(200, 'x');
  ASSERT_TRUE(OwnedFolder::make(folder_));
  const auto folder = OwnedFolder::open(folder_);
  auto place = DaemonPlace::take(*folder);
  ASSERT_TRUE(place && *place) << place.error().message;
  const auto client = DaemonClient::connect(*folder);
  EXPECT_TRUE(client && *client);
  folder_ = fs::path(folder_).parent_path();
}

// What another user could have put there, had the folder once been open.
TEST_F(RuntimeFolderTest, HoldsNoLogOrLockThatLeadsElsewhere) {
  const std::string canary = folder_ + "/canary";
  std::ofstream(canary) << "safe";
  for (const char* name : {"/daemon.log", "/daemon.lock"}) {
    ASSERT_EQ(::symlink(canary.c_str(), (folder_ + name).c_str()), 0);
  }
  const auto folder = OwnedFolder::open(folder_);
  EXPECT_FALSE(start_daemon(*folder, {}));
  EXPECT_FALSE(DaemonPlace::take(*folder));
  EXPECT_EQ(fs::file_size(canary), 4U);
}

// ---- socket activation, by hand

void pass_sockets(pid_t pid, const char* count) {
  ::setenv("LISTEN_PID", std::to_string(pid).c_str(), 1);
  ::setenv("LISTEN_FDS", count, 1);
}

// In a process of its own, whose descriptor 3 is `socket`.
int in_child_with(const Fd& socket, const char* count, bool for_me) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(socket.get(), 3);
    pass_sockets(for_me ? ::getpid() : 1, count);
    const auto got = socket_of_systemd();
    if (!got) ::_exit(1);
    ::_exit(*got ? 0 : 2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(DaemonTest, ASocketOfSystemdIsTakenOnlyWhenItIsForUsAndOfTheRightKind) {
  auto place = DaemonPlace::take(*OwnedFolder::open(folder_));
  ASSERT_TRUE(place && *place);
  const Fd good = (*place)->listener();
  const Fd stream(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(in_child_with(good, "1", true), 0);
  EXPECT_EQ(in_child_with(good, "1", false), 2) << "it was for another process";
  EXPECT_EQ(in_child_with(good, "2", true), 1);
  EXPECT_EQ(in_child_with(stream, "1", true), 1);
}

}  // namespace
}  // namespace thimble::test
