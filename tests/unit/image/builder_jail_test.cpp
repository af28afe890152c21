// What a process in the builder's jail has, seen from inside: as root and as an ordinary user
// alike.
#include "tools/image/jail/jail.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "tests/unit/image/scratch.h"
#include "tools/image/jail/system.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class BuilderJailTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(make_directories(work()));
    ::chmod(scratch_.path().c_str(), 0755);
    ASSERT_EQ(::chown(work().c_str(), jailed_uid(), -1), 0);
  }

  fs::path work() const { return scratch_.path() / "work"; }

  JailOptions options() const {
    JailOptions options{.root = packing_tree(), .limits = {}};
    options.root.mounts.push_back({.from = work(), .to = "/build", .writable = true});
    return options;
  }

  // Runs the body in the jail: what it answers.
  std::string in_jail(const JailOptions& options, const std::function<std::string()>& body) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Descriptor reader(ends[0]);
    Descriptor writer(ends[1]);
    const int kept[] = {ends[1]};
    auto jailed = start_in_jail(options, kept, [&] {
      const std::string answer = body();
      return ::write(kept[0], answer.data(), answer.size()) < 0 ? 1 : 0;
    });
    if (!jailed) return "not started: " + jailed.error().message;
    writer.reset();
    std::string answer = read_descriptor(reader.get(), 1 << 20, "pipe").value_or("unread");
    ::waitpid(jailed->pid, nullptr, 0);
    return answer;
  }
  std::string in_jail(const std::function<std::string()>& body) { return in_jail(options(), body); }

  Scratch scratch_;
};

std::string yes_or_no(bool answer) { return answer ? "yes" : "no"; }

TEST_F(BuilderJailTest, ItWritesTheBuildFolderAndNothingElse) {
  const std::string answer = in_jail([] {
    std::string written;
    for (const char* place : {"/build/x", "/tmp/x", "/x", "/usr/x", "/etc/x", "/dev/x", "/proc/x",
                              "/bin/x", "/programs/x", "/etc/passwd"}) {
      if (write_file(place, "x")) written += std::string(place) + " ";
    }
    return written;
  });
  EXPECT_EQ(answer, "/build/x /tmp/x ");
  EXPECT_EQ(*read_file(work() / "x"), "x");
}

TEST_F(BuilderJailTest, ItSeesNoFileOfTheHostsUsers) {
  const fs::path secret = scratch_.add("secret", "secret");
  const std::string answer = in_jail([&] {
    std::string seen;
    for (const fs::path& path : {secret, fs::path("/root"), fs::path("/home"), fs::path("/var/log"),
                                 fs::path("/etc/shadow"), fs::path("/run"), fs::path("/sys")}) {
      if (::access(path.c_str(), F_OK) == 0) seen += path.string() + " ";
    }
    return seen;
  });
  EXPECT_EQ(answer, "");
}

TEST_F(BuilderJailTest, ItHasNoneOfTheEnvironment) {
  // Where the kernel put the environment that this process was started with.
  const char* const started_with = environ[0];
  ASSERT_NE(*started_with, '\0');
  const std::string answer = in_jail([started_with] {
    std::string found = started_with;
    for (char** entry = environ; *entry != nullptr; ++entry) found += std::string(*entry) + "|";
    return found;
  });
  EXPECT_EQ(answer, std::string("PATH=") + kJailPath + "|HOME=/tmp|TMPDIR=/tmp|LC_ALL=C.UTF-8|");
}

TEST_F(BuilderJailTest, ItHasNeitherArgumentsNorForeignDescriptors) {
  const Descriptor open_file(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  const std::string answer = in_jail([] {
    const std::string arguments = read_file("/proc/self/cmdline", 1 << 20).value_or("unread");
    int open = 0;
    for (int fd = 3; fd < 1000; ++fd) open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return yes_or_no(arguments.find_first_not_of('\0') == std::string::npos) + " " +
           std::to_string(open);
  });
  EXPECT_EQ(answer, "yes 1");
}

// CapInh, CapPrm, CapEff, CapBnd, CapAmb, NoNewPrivs, Groups of /proc/self/status.
std::string powers() {
  std::istringstream status(read_file("/proc/self/status").value_or(""));
  std::string found;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Cap") || line.starts_with("NoNewPrivs")) {
      found += line.substr(line.find('\t') + 1) + " ";
    }
  }
  return found;
}

constexpr const char* kNone = "0000000000000000 ";

TEST_F(BuilderJailTest, ItHasNoPowers) {
  std::string none;
  for (int set = 0; set < 5; ++set) none += kNone;
  EXPECT_EQ(in_jail(powers), none + "1 ");
  EXPECT_EQ(in_jail([] { return std::to_string(::getuid()); }), std::to_string(jailed_uid()));
  EXPECT_EQ(in_jail([] { return yes_or_no(::unshare(CLONE_NEWUSER) == 0); }), "no");
  EXPECT_EQ(
      in_jail([] {
        return yes_or_no(::mount(nullptr, "/usr", nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0);
      }),
      "no");
}

TEST_F(BuilderJailTest, WhatItStartsHasNoPowersEither) {
  const std::string answer = in_jail([] {
    return run_checked({.argv = {"sh", "-c", "grep CapEff /proc/self/status; id -u"}}, "look")
        .value_or("not started");
  });
  EXPECT_EQ(answer, "CapEff:\t0000000000000000\n" + std::to_string(jailed_uid()) + "\n");
}

TEST_F(BuilderJailTest, TheReaderOfRootsFoldersReadsAndNoMore) {
  if (::geteuid() != 0) GTEST_SKIP() << "is started by root";
  JailOptions reader = options();
  reader.user = JailUser::kReader;
  const fs::path closed = scratch_.add("source/closed", "content");
  ASSERT_EQ(::chown(closed.c_str(), 1234, 1234), 0);
  ::chmod(closed.c_str(), 0000);
  reader.root.mounts.push_back({.from = scratch_.path() / "source", .to = "/source"});
  const std::string answer = in_jail(reader, [] {
    return read_file("/source/closed").value_or("unread") + " " +
           yes_or_no(write_file("/source/new", "x").has_value()) +
           yes_or_no(::chmod("/source/closed", 0777) == 0) +
           yes_or_no(write_file("/proc/sys/kernel/core_pattern", "x").has_value()) +
           yes_or_no(::unshare(CLONE_NEWUSER) == 0);
  });
  EXPECT_EQ(answer, "content nononono");
}

// Whether something listens, or nothing could be asked at all.
std::string connect_to(int port) {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* place = reinterpret_cast<const sockaddr*>(&address);
  return yes_or_no(::connect(socket.get(), place, sizeof address) == 0);
}

TEST_F(BuilderJailTest, ItHasTheNetworkOnlyForFetching) {
  const Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const int port = ntohs(address.sin_port);
  EXPECT_EQ(in_jail([port] { return connect_to(port); }), "no");
  JailOptions fetching = options();
  fetching.network = true;
  EXPECT_EQ(in_jail(fetching, [port] { return connect_to(port); }), "yes");
}

TEST_F(BuilderJailTest, ItIsAloneWithItsProcesses) {
  EXPECT_EQ(in_jail([] { return std::to_string(::getpid()); }), "1");
  const pid_t outside = ::getpid();
  EXPECT_EQ(in_jail([outside] { return yes_or_no(::kill(outside, 0) == 0 && outside != 1); }),
            "no");
}

TEST_F(BuilderJailTest, AFileBeyondTheLimitIsAnErrorAndNoDeath) {
  JailOptions small = options();
  small.limits.bytes = 1 << 20;
  const std::string answer = in_jail(
      small, [] { return write_file("/build/large", std::string(2 << 20, 'x')).error().message; });
  EXPECT_NE(answer.find("File too large"), std::string::npos) << answer;
}

TEST_F(BuilderJailTest, WhatCannotBeMountedIsSaid) {
  JailOptions broken = options();
  broken.root.mounts.push_back({.from = scratch_.path() / "missing", .to = "/missing"});
  const std::string answer = in_jail(broken, [] { return std::string("ran"); });
  EXPECT_NE(answer.find("missing: No such file"), std::string::npos) << answer;
}

TEST_F(BuilderJailTest, ToolsThatLieElsewhereAreThereAlone) {
  const fs::path folder = scratch_.path() / "versions/bin";
  scratch_.add("versions/bin/strip", "#!/bin/sh\necho mine\n");
  scratch_.add("versions/private", "secret");
  ::chmod((folder / "strip").c_str(), 0755);
  const std::string path = ::getenv("PATH");
  ::setenv("PATH", (folder.string() + ":" + path).c_str(), 1);
  JailOptions with_tools{.root = building_tree(), .limits = {}};
  ::setenv("PATH", path.c_str(), 1);
  const std::string answer = in_jail(with_tools, [&] {
    return run_checked({.argv = {"strip"}}, "start it").value_or("not started") +
           yes_or_no(::access((folder / "../private").c_str(), F_OK) == 0);
  });
  EXPECT_EQ(answer, "mine\nno");
}

}  // namespace
}  // namespace thimble::image
