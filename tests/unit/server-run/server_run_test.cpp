// A run as the process sees it that started `thimble`: bytes, end of input, signals, exit status,
// and nothing left behind. The guest is guest-init's own session, without a VM around it.
#include "mcp-agent/server_run.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "guest-init/protocol.h"
#include "pool/guest/control_codec.h"
#include "tests/unit/server-run/fake_vm.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;
namespace fs = std::filesystem;

std::string read_all(int fd) {
  std::string out;
  std::array<char, 65536> chunk{};
  for (ssize_t n = 0; (n = ::read(fd, chunk.data(), chunk.size())) > 0;) {
    out.append(chunk.data(), static_cast<size_t>(n));
  }
  return out;
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string id = std::to_string(pid);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  std::vector<pid_t> out;
  for (pid_t child = 0; file >> child;) out.push_back(child);
  return out;
}

bool gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    // A zombie that a slow pid 1 has not reaped yet runs nothing any more.
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string id;
    std::string name;
    std::string state;
    if (!(stat >> id >> name >> state) || state == "Z") return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

// run_server() in a process of its own, as `thimble` is, with a pipe for each standard descriptor
// and one for what thimble itself says.
class Session {
 public:
  using Tweak = std::function<void(ServerRun&)>;

  explicit Session(std::vector<std::string> command, const Tweak& tweak = nullptr,
                   VmProcess::Body body = nullptr, milliseconds start_takes = {})
      : directory_(make_directory()) {
    if (!body) body = guest_without_vm(directory_);
    ::signal(SIGPIPE, SIG_IGN);
    std::array<std::array<int, 2>, 4> pipes{};
    for (auto& pipe : pipes) EXPECT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(pipes[0][1]);
      for (int i = 1; i < 4; ++i) ::close(pipes[static_cast<size_t>(i)][0]);
      ServerRun run;
      run.server.arguments = std::move(command);
      run.server.environment = {"PATH=/usr/bin:/bin"};
      run.server.term_grace_ms = 5000;
      run.user = {pipes[0][0], pipes[1][1], pipes[2][1]};
      const int log_end = pipes[3][1];
      run.say = [log_end](std::string_view line) {
        (void)!::write(log_end, (std::string(line) + "\n").c_str(), line.size() + 1);
      };
      if (tweak) tweak(run);
      const auto start = [&] {
        auto vm = VmProcess::start(body, {}, false);
        std::this_thread::sleep_for(start_takes);
        return vm;
      };
      ::_exit(run_server(start, std::move(run)));
    }
    ::close(pipes[0][0]);
    for (size_t i = 1; i < 4; ++i) ::close(pipes[i][1]);
    in = Fd(pipes[0][1]);
    out = Fd(pipes[1][0]);
    err = Fd(pipes[2][0]);
    log = Fd(pipes[3][0]);
  }

  ~Session() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    fs::remove_all(directory_);
  }

  // The exit status, or -1 for an end by a signal.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::string directory() const { return directory_; }
  std::string said() { return read_all(log.get()); }

  // Waits for the server's first output, so that it is known to run.
  void wait_for_output() const {
    pollfd ready{out.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 20000), 1);
  }

  Fd in;
  Fd out;
  Fd err;
  Fd log;

 private:
  static fs::path make_directory() {
    std::string path = (fs::temp_directory_path() / "thimble-run-XXXXXX").string();
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    return path;
  }

  fs::path directory_;
  pid_t pid_ = -1;
};

std::vector<std::string> shell(std::string script) { return {"sh", "-c", std::move(script)}; }

TEST(ServerRun, TheExitStatusIsTheServers) {
  Session session(shell("exit 7"));
  EXPECT_EQ(session.wait(), 7);
  EXPECT_EQ(session.said(), "");
}

TEST(ServerRun, ADeathBySignalGivesItsNumberAbove128) {
  Session session(shell("kill -9 $$"));
  EXPECT_EQ(session.wait(), 137);
}

// Root in the guest can forge it.
TEST(ServerRun, ACountOfProcessesKilledForMemoryIsTheGuestsWord) {
  for (const auto& [told, shown] :
       {std::pair("2", "killed 2 of"), {"4294967295", "killed very many of"}}) {
    Session session(shell("read line; exit 0"));
    std::ofstream(session.directory() + "/oom_kills") << told;
    session.in.reset();
    EXPECT_EQ(session.wait(), 0);
    const std::string said = session.said();
    EXPECT_NE(said.find("the guest says that it ran out of memory"), std::string::npos) << said;
    EXPECT_NE(said.find(shown), std::string::npos) << said;
  }
}

TEST(ServerRun, ACommandThatIsNotThereOrNotExecutableHasItsOwnStatus) {
  Session missing({"no-such-command"});
  EXPECT_EQ(missing.wait(), kExitNotFound);
  EXPECT_NE(missing.said().find("no-such-command"), std::string::npos);
  Session data({"/etc/passwd"});
  EXPECT_EQ(data.wait(), kExitNotExecutable);
}

TEST(ServerRun, OutputAndErrorsArriveApartAndNothingOfOursAmongThem) {
  Session session(shell("echo out; echo err >&2"));
  EXPECT_EQ(session.wait(), 0);
  EXPECT_EQ(read_all(session.out.get()), "out\n");
  EXPECT_EQ(read_all(session.err.get()), "err\n");
}

TEST(ServerRun, ArgumentsAndEnvironmentArriveAsTheyAre) {
  Session session(
      {"sh", "-c", "printf '%s|' \"$@\" \"$A\" \"${HOME-unset}\"", "sh", "", "a b", "$x", "\xff\n"},
      [](ServerRun& r) { r.server.environment.emplace_back("A=1=2"); });
  EXPECT_EQ(session.wait(), 0);
  EXPECT_EQ(read_all(session.out.get()), "|a b|$x|\xff\n|1=2|unset|");
}

TEST(ServerRun, MegabytesOfAnyBytesComeBackAndTheEndOfInputReachesTheServer) {
  std::mt19937_64 random(3);
  std::string sent(4 << 20, '\0');
  for (char& c : sent) c = static_cast<char>(random());
  Session session({"cat"});
  std::thread writer([&] {
    for (size_t at = 0; at < sent.size();) {
      const ssize_t n = ::write(session.in.get(), sent.data() + at, sent.size() - at);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
    session.in.reset();
  });
  EXPECT_TRUE(read_all(session.out.get()) == sent);
  writer.join();
  EXPECT_EQ(session.wait(), 0);
}

TEST(ServerRun, InputThatEndsBeforeTheServerStartsIsNotLost) {
  Session session({"cat"});
  ASSERT_EQ(::write(session.in.get(), "early", 5), 5);
  session.in.reset();
  EXPECT_EQ(read_all(session.out.get()), "early");
  EXPECT_EQ(session.wait(), 0);
}

TEST(ServerRun, SignalsReachTheServer) {
  Session session(
      shell("trap 'echo term; exit 5' TERM; trap 'echo usr1' USR1; echo up; "
            "while :; do sleep 0.05; done"));
  session.wait_for_output();
  ::kill(session.pid(), SIGUSR1);
  std::this_thread::sleep_for(milliseconds(300));
  ::kill(session.pid(), SIGTERM);
  EXPECT_EQ(session.wait(), 5);
  EXPECT_EQ(read_all(session.out.get()), "up\nusr1\nterm\n");
}

void send_frame(int control, uint16_t type, FieldWriter fields) {
  const std::vector<uint8_t> payload = fields.take();
  const protocol::FrameHeader header{static_cast<uint32_t>(payload.size()), type, 0};
  (void)!::write(control, &header, sizeof header);
  (void)!::write(control, payload.data(), payload.size());
}

// Waits for a frame of `type`; its payload, or nothing when the host is gone.
std::vector<uint8_t> await_frame(int control, uint16_t type) {
  protocol::FrameHeader header{};
  while (::recv(control, &header, sizeof header, MSG_WAITALL) == sizeof header) {
    std::vector<uint8_t> payload(header.length);
    if (header.length > 0) (void)!::recv(control, payload.data(), payload.size(), MSG_WAITALL);
    if (header.type == type) return payload;
  }
  return {};
}

// A guest that starts its server at once, but is slow to say so: `thimble`, its parent, gets a
// signal before. The exit code tells which one came through.
void start_and_await_signal(int control) {
  FieldWriter hello;
  hello.add_number<uint32_t>(protocol::kTagVersion, protocol::kVersion);
  hello.add_number<uint32_t>(protocol::kTagState, protocol::kStateFresh);
  send_frame(control, protocol::kHello, std::move(hello));
  await_frame(control, protocol::kConfigure);
  send_frame(control, protocol::kConfigured, {});
  await_frame(control, protocol::kStart);
  ::kill(::getppid(), SIGUSR1);
  const std::vector<uint8_t> signal = await_frame(control, protocol::kSignal);
  uint32_t number = 0;
  if (signal.size() >= sizeof number) {
    std::memcpy(&number, &signal[signal.size() - sizeof number], sizeof number);
  }
  FieldWriter pid;
  pid.add_number<uint32_t>(protocol::kTagPid, 42);
  send_frame(control, protocol::kStarted, std::move(pid));
  FieldWriter exit_code;
  exit_code.add_number<uint32_t>(protocol::kTagExitCode, number);
  send_frame(control, protocol::kExited, std::move(exit_code));
  ::_exit(0);  // with its ends of the streams
}

// The server's output and the word that it has started come on connections of their own.
TEST(ServerRun, ASignalReachesAServerBeforeTheGuestHasSaidThatItRuns) {
  Session session(
      {"unused"}, [](ServerRun& r) { r.boot_timeout = milliseconds(5000); },
      guest_that(start_and_await_signal));
  EXPECT_EQ(session.wait(), SIGUSR1);
}

TEST(ServerRun, AnUntrappedSignalEndsBothWithItsStatus) {
  Session session(shell("echo up; exec sleep 60"));
  session.wait_for_output();
  ::kill(session.pid(), SIGINT);
  EXPECT_EQ(session.wait(), 130);
}

TEST(ServerRun, ASignalBeforeTheServerRunsEndsThimble) {
  Session session({"cat"}, nullptr, [](int) {
    for (;;) ::pause();
    return 0;
  });
  std::this_thread::sleep_for(milliseconds(200));
  const auto children = children_of(session.pid());
  ::kill(session.pid(), SIGTERM);
  EXPECT_EQ(session.wait(), 143);
  for (const pid_t child : children) EXPECT_TRUE(gone(child));
}

TEST(ServerRun, TheTimeoutEndsTheServerWithItsOwnStatus) {
  const auto begin = std::chrono::steady_clock::now();
  Session session(shell("echo up; exec sleep 60"),
                  [](ServerRun& r) { r.timeout = milliseconds(300); });
  EXPECT_EQ(session.wait(), kExitTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  EXPECT_NE(session.said().find("--timeout"), std::string::npos);
}

TEST(ServerRun, AReaderThatIsGoneReachesTheServerAsABrokenPipe) {
  Session session({"yes"});
  session.wait_for_output();
  session.out.reset();
  EXPECT_EQ(session.wait(), 128 + SIGPIPE);
}

TEST(ServerRun, AServerThatClosesItsOutputEndsTheUsersStreamWhileItRuns) {
  Session session(shell("exec >&-; read line; exit 9"));
  EXPECT_EQ(read_all(session.out.get()), "") << "the end is seen though the server waits";
  ASSERT_EQ(::write(session.in.get(), "go\n", 3), 3);
  EXPECT_EQ(session.wait(), 9);
}

TEST(ServerRun, AReaderThatStallsDelaysTheEndButLosesNothing) {
  Session session(shell("head -c 1000000 /dev/zero; exit 4"));
  session.wait_for_output();
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(read_all(session.out.get()).size(), 1000000U);
  EXPECT_EQ(session.wait(), 4);
}

TEST(ServerRun, SigtermEndsAServerWhoseOutputNobodyReads) {
  Session session(shell("yes >&2 & exec yes"));
  session.wait_for_output();
  std::this_thread::sleep_for(milliseconds(300));
  ::kill(session.pid(), SIGTERM);
  EXPECT_EQ(session.wait(), 128 + SIGTERM);
}

TEST(ServerRun, ASlowReaderStillGetsAllOfWhatWasWrittenBeforeASignal) {
  Session session(shell("head -c 300000 /dev/zero; echo done >&2; exec sleep 60"));
  std::array<char, 5> done{};
  ASSERT_EQ(::read(session.err.get(), done.data(), done.size()), 5);
  ::kill(session.pid(), SIGTERM);
  size_t got = 0;
  std::array<char, 50000> chunk{};
  for (ssize_t n = 0; (n = ::read(session.out.get(), chunk.data(), chunk.size())) > 0;) {
    got += static_cast<size_t>(n);
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(got, 300000U);
  EXPECT_EQ(session.wait(), 128 + SIGTERM);
}

void hear_the_end_of_input(ServerRun& run) {
  run.server.stdin_grace_ms = 300;
  run.server.term_grace_ms = 300;
}

TEST(ServerRun, AServerThatComputesForAClientThatIsGoneIsEnded) {
  Session session(shell("echo up; while :; do :; done"), hear_the_end_of_input);
  session.wait_for_output();
  session.in.reset();
  session.out.reset();
  EXPECT_EQ(session.wait(), 128 + SIGTERM);
}

TEST(ServerRun, SoIsOneThatIgnoresSigtermWritesItsLogAndNeverReadItsInput) {
  Session session(shell("trap '' TERM; echo up; while :; do echo busy >&2; done"),
                  hear_the_end_of_input);
  session.wait_for_output();
  // More than is on its way to a server that does not read.
  const std::string requests(4U << 20, 'x');
  ::fcntl(session.in.get(), F_SETFL, O_NONBLOCK);
  while (::write(session.in.get(), requests.data(), requests.size()) > 0) {
    std::this_thread::sleep_for(milliseconds(50));
  }
  session.in.reset();
  session.out.reset();
  const std::jthread reader([&] { read_all(session.err.get()); });
  EXPECT_EQ(session.wait(), 128 + SIGKILL);
}

TEST(ServerRun, AServerThatWorksForAReaderIsLeftAloneAfterTheEndOfItsInput) {
  Session session(shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 0.1; echo . >&2; "
                        "done; echo computed"),
                  hear_the_end_of_input);
  session.in.reset();
  EXPECT_EQ(read_all(session.out.get()), "computed\n");
  EXPECT_EQ(session.wait(), 0);
}

Session::Tweak writes_to(const char* output, const char* error = nullptr) {
  return [output, error](ServerRun& run) {
    if (output != nullptr) run.user.output = ::open(output, O_WRONLY | O_CLOEXEC);
    if (error != nullptr) run.user.error = ::open(error, O_WRONLY | O_CLOEXEC);
  };
}

TEST(ServerRun, OutputThatCannotBeWrittenIsAFailureWithItsReason) {
  Session session({"echo", "ok"}, writes_to("/dev/full"));
  EXPECT_EQ(session.wait(), kExitOutput);
  EXPECT_EQ(session.said(),
            "stdout: No space left on device: what the server writes from here on is lost\n");
}

TEST(ServerRun, OutputThatCannotBeWrittenEndsAServerThatWritesOnAsABrokenPipeWould) {
  Session session({"yes"}, writes_to("/dev/full"));
  EXPECT_EQ(session.wait(), kExitOutput);
}

TEST(ServerRun, AStatusOfTheServersOwnSaysMoreThanOutputThatCannotBeWritten) {
  Session session(shell("echo ok; exit 7"), writes_to("/dev/full"));
  EXPECT_EQ(session.wait(), 7);
}

TEST(ServerRun, AFileThatMayNotGrowIsAFailureWithItsReason) {
  const fs::path file =
      fs::temp_directory_path() / ("thimble-run-file." + std::to_string(::getpid()));
  std::ofstream(file) << "";
  Session session({"head", "-c", "100000", "/dev/zero"}, [&](ServerRun& run) {
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    writes_to(file.c_str())(run);
  });
  EXPECT_EQ(session.wait(), kExitOutput);
  EXPECT_NE(session.said().find("stdout: File too large"), std::string::npos);
  EXPECT_EQ(fs::file_size(file), 4096U);
  fs::remove(file);
}

TEST(ServerRun, AServerWhoseLogCannotBeWrittenGoesOnAndThatIsSaid) {
  Session session(shell("echo lost >&2; echo up; read line; echo more >&2; echo $line"),
                  writes_to(nullptr, "/dev/full"));
  session.wait_for_output();
  ASSERT_EQ(::write(session.in.get(), "on\n", 3), 3);
  session.in.reset();
  EXPECT_EQ(read_all(session.out.get()), "up\non\n");
  EXPECT_EQ(session.wait(), kExitOutput);
  EXPECT_NE(session.said().find("stderr: No space left on device"), std::string::npos);
}

TEST(ServerRun, AKilledVmmIsOneLineAndAFailure) {
  Session session(shell("echo up; exec sleep 60"));
  session.wait_for_output();
  const auto children = children_of(session.pid());
  ASSERT_EQ(children.size(), 1U);
  ::kill(children.front(), SIGKILL);
  EXPECT_EQ(session.wait(), kExitFailure);
  const std::string said = session.said();
  EXPECT_NE(said.find("signal 9"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

TEST(ServerRun, AKilledThimbleLeavesNoProcess) {
  Session session(shell("echo up; exec sleep 60"));
  session.wait_for_output();
  auto processes = children_of(session.pid());
  ASSERT_EQ(processes.size(), 1U);
  for (const pid_t init : children_of(processes.front())) processes.push_back(init);
  ::kill(session.pid(), SIGKILL);
  EXPECT_EQ(session.wait(), -1);
  for (const pid_t process : processes) EXPECT_TRUE(gone(process));
}

TEST(ServerRun, AVmThatCannotBeMadeIsRefusedWithItsReason) {
  Session session({"cat"}, nullptr, [](int channel) {
    (void)send_vm_message(channel, VmMessageType::kRefused, 0, "load kernel: not an ELF file");
    return 1;
  });
  EXPECT_EQ(session.wait(), kExitFailure);
  EXPECT_EQ(session.said(), "load kernel: not an ELF file\n");
}

TEST(ServerRun, AGuestThatPanicsIsExplainedInOneLine) {
  Session session({"cat"}, nullptr, [](int channel) {
    (void)send_vm_message(channel, VmMessageType::kTail, 0, "Kernel panic - not syncing: VFS");
    (void)send_vm_message(channel, VmMessageType::kEnded,
                          static_cast<uint32_t>(End::Kind::kReset) | kVmChannelPanicked,
                          "the guest's kernel panicked: VFS");
    return 0;
  });
  EXPECT_EQ(session.wait(), kExitFailure);
  EXPECT_EQ(session.said(),
            "the VM ended before the server was started: the guest's kernel panicked: VFS\n");
}

TEST(ServerRun, AGuestThatBreaksTheProtocolIsEnded) {
  Session session({"cat"}, nullptr, guest_that([](int control) {
                    (void)!::write(control, "GET / HTTP/1.1\r\n\r\n", 18);
                  }));
  EXPECT_EQ(session.wait(), kExitFailure);
  EXPECT_NE(session.said().find("protocol"), std::string::npos);
}

TEST(ServerRun, AGuestThatNeverAnswersIsGivenUp) {
  Session session(
      {"cat"}, [](ServerRun& r) { r.boot_timeout = milliseconds(300); }, guest_that([](int) {}));
  EXPECT_EQ(session.wait(), kExitFailure);
  EXPECT_NE(session.said().find("did not start"), std::string::npos);
}

// A VMM process that its guest has taken over: it reports its end and floods the control channel.
TEST(ServerRun, AVmmThatTalksOnAfterItsEndIsLeft) {
  Session session({"cat"}, nullptr, [](int channel) {
    (void)send_vm_message(channel, VmMessageType::kReady, 0, "");
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return 1;
    const protocol::FrameHeader header{12, protocol::kHello, 0};
    const protocol::FieldHeader field{protocol::kTagVersion, 0, 4};
    const int control = message->stream.get();
    (void)!::write(control, &header, sizeof header);
    (void)!::write(control, &field, sizeof field);
    (void)!::write(control, &protocol::kVersion, sizeof protocol::kVersion);
    std::vector<uint8_t> notices(65536);
    for (size_t at = 0; at < notices.size(); at += 8) {
      const protocol::FrameHeader notice{0, protocol::kNotice, 0};
      std::memcpy(notices.data() + at, &notice, sizeof notice);
    }
    // Several senders, so that the channel is never found empty.
    for (int i = 0; i < 4; ++i) {
      std::thread([&] {
        while (::send(control, notices.data(), notices.size(), MSG_NOSIGNAL) > 0) {
        }
      }).detach();
    }
    std::this_thread::sleep_for(milliseconds(20));
    (void)send_vm_message(channel, VmMessageType::kEnded, static_cast<uint32_t>(End::Kind::kReset),
                          "x");
    for (;;) ::pause();
    return 0;
  });
  EXPECT_EQ(session.wait(), kExitFailure);
}

TEST(ServerRun, AGuestThatClosesItsControlChannelIsGivenUp) {
  Session session({"cat"}, nullptr,
                  guest_that([](int control) { ::shutdown(control, SHUT_RDWR); }));
  EXPECT_EQ(session.wait(), kExitFailure);
}

// What such a run is told to do instead reads the client's first line itself.
void expect_replaced(const VmProcess::Body& body, const char* why, milliseconds start_takes = {}) {
  Session session(
      {"unused"},
      [](ServerRun& run) {
        run.clone = true;
        run.clone_timeout = milliseconds(500);
        run.on_refused = [say = run.say](std::string_view text) { say(text); };
      },
      body, start_takes);
  EXPECT_EQ(::write(session.in.get(), "word\n", 5), 5);
  EXPECT_EQ(session.wait(), kExitRefused & 0xff);
  const std::string said = session.said();
  EXPECT_NE(said.find(why), std::string::npos) << said;
}

TEST(ServerRun, ACloneThatPanicsBeforeItsFirstWordCanBeReplaced) {
  const auto panics = [](int channel) {
    (void)send_vm_message(channel, VmMessageType::kEnded,
                          static_cast<uint32_t>(End::Kind::kReset) | kVmChannelPanicked,
                          "the guest's kernel panicked: VFS");
    return 1;
  };
  const char* const why = "its clone ended right away: the guest's kernel panicked: VFS";
  expect_replaced(panics, why);
  expect_replaced(panics, why, milliseconds(300));  // before anything could be asked of it
}

TEST(ServerRun, ACloneThatNeverSaysAWordCanBeReplaced) {
  expect_replaced(guest_that([](int) {}), "its clone does not answer");
}

TEST(ServerRun, ACloneWhoseServerWasFrozenServesAsIfItHadJustStarted) {
  std::string pattern = (fs::temp_directory_path() / "thimble-clone-XXXXXX").string();
  const fs::path directory = mkdtemp(pattern.data());
  ServerSpec server;
  server.arguments = {"sh", "-c", "echo early; read line; echo got $line; exit 6"};
  server.environment = {"PATH=/usr/bin:/bin"};
  Session session({"unused"}, nullptr, frozen_guest_without_vm(directory, server));
  EXPECT_EQ(::write(session.in.get(), "word\n", 5), 5);
  EXPECT_EQ(read_all(session.out.get()), "early\ngot word\n");
  EXPECT_EQ(session.wait(), 6);
  fs::remove_all(directory);
}

// A guest that was frozen with its server, and cannot let it go on.
void refuse_to_thaw(int control) {
  FieldWriter hello;
  hello.add_number<uint32_t>(protocol::kTagVersion, protocol::kVersion);
  hello.add_number<uint32_t>(protocol::kTagState, protocol::kStateFrozenRunning);
  send_frame(control, protocol::kHello, std::move(hello));
  await_frame(control, protocol::kConfigure);
  send_frame(control, protocol::kConfigured, {});
  await_frame(control, protocol::kThaw);
  FieldWriter failed;
  failed.add_number<uint32_t>(protocol::kTagStep, protocol::kStepFreeze);
  failed.add_number<uint32_t>(protocol::kTagErrno, EIO);
  failed.add_text(protocol::kTagText, "thaw");
  send_frame(control, protocol::kFailed, std::move(failed));
}

// What is run of it was started before: its words are not known.
TEST(ServerRun, ACloneThatCannotBeThawedSaysWhy) {
  Session session(
      {"unused"}, [](ServerRun& run) { run.server.arguments.clear(); }, guest_that(refuse_to_thaw));
  EXPECT_EQ(session.wait(), kExitFailure);
  const std::string said = session.said();
  EXPECT_NE(said.find("the guest could not thaw"), std::string::npos) << said;
}

}  // namespace
}  // namespace thimble::test
