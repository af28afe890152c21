#include "tests/unit/guest-init/guest.h"

#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "guest-init/session.h"
#include "guest-init/transport.h"
#include "tests/unit/guest-init/fake_platform.h"

namespace thimble::test {

namespace {

constexpr int kTimeoutSeconds = 10;

// "fail" as host name stands for a mount that does not succeed.
bool configure(void*, const init::Configure& message, init::Failure& failure) {
  if (!message.hostname || std::string_view(message.hostname) != "fail") return true;
  return init::fail(failure, protocol::kStepMount, ENOENT, "mount /dev/vdz on /app");
}

// The machine's own clock is left alone.
bool set_clock(void* context, uint64_t since_epoch_ns, init::Failure& failure) {
  if (since_epoch_ns == 0) return init::fail(failure, protocol::kStepIdentity, EINVAL, "no clock");
  std::ofstream(*static_cast<std::string*>(context) + "/clock") << since_epoch_ns;
  return true;
}

uint32_t oom_kills(void*) { return 3; }

[[noreturn]] void run_session(int control, int streams, const std::string& directory) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);  // what the test's own caller left open
  prctl(PR_SET_CHILD_SUBREAPER, 1);          // as PID 1 would, it gets the orphans
  auto session = std::make_unique<init::Session>();
  const std::string passwd = directory + "/passwd";
  const std::string group = directory + "/group";
  init::Platform platform;
  std::string context = directory;
  platform.context = &context;
  platform.configure = configure;
  platform.set_clock = set_clock;
  platform.freeze = fake_freeze;
  platform.look = fake_look;
  platform.find_unreseeded = fake_find_unreseeded;
  platform.oom_kills = oom_kills;
  platform.cpu_ms = fake_cpu_ms;
  platform.child.passwd_path = passwd.c_str();
  platform.child.group_path = group.c_str();
  session->open(control, streams, platform);
  session->run();
  _exit(0);
}

int connect_to(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_GE(fd, 0);
  if (fd < 0) return -1;
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << path;
  const timeval limit = {kTimeoutSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return fd;
}

void close_descriptor(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

bool receive_exactly(int fd, void* data, size_t size) {
  return size == 0 || recv(fd, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

}  // namespace

Guest::Guest() {
  std::string pattern = (std::filesystem::temp_directory_path() / "thimble-init-XXXXXX").string();
  directory_ = mkdtemp(pattern.data());
  std::ofstream(directory_ + "/passwd") << "root:x:0:0::/:\nnode:x:1234:1235::" + directory_ +
                                               "/home/node:/bin/sh\nrooted:x:1236:1237::/:\n";
  std::ofstream(directory_ + "/group")
      << "staff:x:50:\ndisk:x:6:node\naudio:x:29:root,node,nodejs\nother:x:99:nod\n";
  const int control = init::listen_unix((directory_ + "/control").c_str());
  const int streams = init::listen_unix((directory_ + "/streams").c_str());
  EXPECT_GE(control, 0);
  EXPECT_GE(streams, 0);
  process_ = fork();
  if (process_ == 0) run_session(control, streams, directory_);
  close(control);
  close(streams);
}

Guest::~Guest() {
  close_descriptor(control_);
  close_descriptor(input_);
  close_descriptor(output_);
  close_descriptor(error_);
  if (server_ > 0) kill(-server_, SIGKILL);  // a guest's power-off would end them too
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

int Guest::connect_raw_control() const { return connect_to(directory_ + "/control"); }
int Guest::connect_raw_stream() const { return connect_to(directory_ + "/streams"); }

int Guest::connect_stream(uint32_t stream, uint32_t process) {
  const int fd = connect_raw_stream();
  const protocol::StreamPreface preface{protocol::kStreamMagic, stream, process};
  EXPECT_EQ(::send(fd, &preface, sizeof preface, MSG_NOSIGNAL),
            static_cast<ssize_t>(sizeof preface));
  return fd;
}

void Guest::connect_control() {
  control_ = connect_raw_control();
  const Message hello = receive();
  EXPECT_EQ(hello.type, protocol::kHello);
  EXPECT_EQ(hello.u32(protocol::kTagVersion), protocol::kVersion);
  found_ = hello.u32(protocol::kTagState);
}

void Guest::connect_streams() {
  close_descriptor(input_);
  close_descriptor(output_);
  close_descriptor(error_);
  input_ = connect_stream(protocol::kStdin);
  output_ = connect_stream(protocol::kStdout);
  error_ = connect_stream(protocol::kStderr);
}

void Guest::prepare() {
  connect_control();
  connect_streams();
  send(protocol::kConfigure);
  EXPECT_EQ(receive().type, protocol::kConfigured);
}

void Guest::send_bytes(std::string_view bytes) const {
  // A guest that has powered off does not take it: that is for the caller to find out.
  (void)!::send(control_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void Guest::send(uint16_t type, const Fields& fields) const {
  send_bytes(frame(type, fields.bytes()));
}

Message Guest::receive() {
  protocol::FrameHeader header;
  if (!receive_exactly(control_, &header, sizeof header)) return {};
  std::string payload(header.length, '\0');
  if (!receive_exactly(control_, payload.data(), payload.size())) return {};
  Message message = parse_message(header.type, payload);
  if (message.type == protocol::kStarted)
    server_ = static_cast<pid_t>(message.u32(protocol::kTagPid));
  return message;
}

Fields Guest::command(std::initializer_list<std::string_view> arguments) {
  Fields fields;
  for (const std::string_view argument : arguments) fields.add(protocol::kTagArgument, argument);
  fields.add(protocol::kTagEnvironment, "PATH=/usr/bin:/bin");
  return fields;
}

Message Guest::start_shell(const std::string& script, uint32_t stdin_grace_ms,
                           uint32_t term_grace_ms) {
  Fields fields = command({"sh", "-c", script});
  fields.add_u32(protocol::kTagStdinGrace, stdin_grace_ms);
  fields.add_u32(protocol::kTagTermGrace, term_grace_ms);
  send(protocol::kStart, fields);
  Message answer = receive();
  EXPECT_EQ(answer.type, protocol::kStarted) << answer.text(protocol::kTagText);
  return answer;
}

void Guest::close_stdin() { close_descriptor(input_); }
void Guest::close_stdout() { close_descriptor(output_); }
void Guest::close_control() { close_descriptor(control_); }

std::string Guest::read_all(int fd) {
  std::string all;
  char chunk[65536];
  ssize_t got = 0;
  while ((got = recv(fd, chunk, sizeof chunk, 0)) > 0) all.append(chunk, static_cast<size_t>(got));
  EXPECT_EQ(got, 0) << "the stream did not end";
  return all;
}

int Guest::wait_for_power_off() {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(kTimeoutSeconds);
  while (std::chrono::steady_clock::now() < limit) {
    int status = 0;
    if (waitpid(process_, &status, WNOHANG) == process_) {
      process_ = -1;
      return status;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return -1;
}

}  // namespace thimble::test
