// lab-client: the outside half of `tools/lab run`. Connects to the box's agent, has a command run
// there and stands in for it: same bytes on the three streams, same exit status, signals passed on.
// Called by tools/lab only, which has the words for users.
//
//   lab-client run --port P --token-file F [--env K=V]… -- CMD…
//   lab-client relay --port P --token-file F BOXPORT      prints the port to forward to
//   lab-client monitor SOCKET COMMAND                     one command for QEMU's monitor
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/lab-box/command.h"
#include "tools/lab-box/link.h"
#include "tools/lab-box/monitor.h"
#include "tools/lab-box/streams.h"

namespace thimble::lab {
namespace {

// Keeps a blocking pipe from blocking after poll has said that there is room.
constexpr size_t kSafeWrite = 4096;

struct Options {
  uint16_t port = 0;
  std::string token;
  std::vector<std::string> environment;
  std::vector<std::string> rest;
};

Result<Options> parse_options(std::span<char* const> arguments) {
  Options options;
  size_t i = 0;
  for (; i + 1 < arguments.size() && arguments[i][0] == '-'; i += 2) {
    const std::string_view name = arguments[i];
    const std::string value = arguments[i + 1];
    if (name == "--") break;
    if (name == "--port") {
      std::from_chars(value.data(), value.data() + value.size(), options.port);
    } else if (name == "--token-file") {
      std::ifstream(value) >> options.token;
    } else if (name == "--env") {
      options.environment.push_back(value);
    } else {
      return fail("unknown option " + std::string(name));
    }
  }
  if (i < arguments.size() && std::string_view(arguments[i]) == "--") ++i;
  options.rest.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
  if (options.token.empty() || options.port == 0) return fail("no token or port of a box");
  if (options.rest.empty()) return fail("no command given");
  return options;
}

Result<Link> connect_to_box(const Options& options) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("connect to the box");
  }
  const int yes = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  Link link(std::move(socket), kMaxFrame);
  link.send(FrameType::kHello, 0, options.token);
  return link;
}

bool crosses(std::string_view variable) {
  const std::string_view name = variable.substr(0, variable.find('='));
  for (const std::string_view exact :
       {"PATH", "HOME", "TERM", "LANG", "USER", "LOGNAME", "SHELL", "TZ", "XDG_CACHE_HOME"}) {
    if (name == exact) return true;
  }
  return name.starts_with("THIMBLE_") || name.starts_with("LC_");
}

Command describe_command(const Options& options) {
  Command command;
  char* directory = ::get_current_dir_name();
  command.directory = directory != nullptr ? directory : "/";
  std::free(directory);
  command.uid = ::getuid();
  command.gid = ::getgid();
  command.groups.resize(static_cast<size_t>(std::max(0, ::getgroups(0, nullptr))));
  if (::getgroups(static_cast<int>(command.groups.size()), command.groups.data()) < 0) {
    command.groups.clear();
  }
  command.arguments = options.rest;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (crosses(*variable)) command.environment.emplace_back(*variable);
  }
  command.environment.emplace_back("THIMBLE_LAB=1");
  for (const auto& variable : options.environment) command.environment.push_back(variable);
  return command;
}

Fd watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
    ::sigaddset(&set, signal);
  }
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// A closed descriptor 0, 1 or 2 would be given to our own socket.
void fill_standard_descriptors() {
  int fd = 0;
  while (fd <= STDERR_FILENO) {
    fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
  }
  ::close(fd);
}

class RemoteCommand {
 public:
  RemoteCommand(Link& link, Fd signals)
      : link_(link),
        signals_(std::move(signals)),
        in_(kStdin, Fd(STDIN_FILENO)),
        out_(kStdout, Fd(STDOUT_FILENO), kSafeWrite),
        err_(kStderr, Fd(::dup(STDERR_FILENO)), kSafeWrite) {}

  Result<int> run() {
    while (!(exit_status_ && drained())) {
      if (auto done = turn(); !done) return fail(done.error().message);
    }
    return *exit_status_;
  }

 private:
  // The streams' Eof always comes before Exit; what is left is to write out what has arrived.
  [[nodiscard]] bool drained() const { return !out_.unwritten() && !err_.unwritten(); }

  Result<void> turn() {
    const bool linked = !exit_status_;
    pollfd waits[] = {
        {linked ? link_.fd() : -1, static_cast<short>(POLLIN | (link_.pending() > 0 ? POLLOUT : 0)),
         0},
        {signals_.get(), POLLIN, 0},
        linked ? in_.wish(link_) : pollfd{-1, 0, 0},
        out_.wish(),
        err_.wish(),
    };
    if (::poll(waits, std::size(waits), -1) < 0) {
      if (errno == EINTR) return {};
      return fail_errno("wait for the box");
    }
    if (waits[1].revents != 0) forward_signal();
    if (waits[2].revents != 0) in_.pump(link_);
    out_.pump(waits[3].revents, link_);
    err_.pump(waits[4].revents, link_);
    if (waits[0].revents != 0) {
      if (auto done = read_link(); !done) return done;
    }
    return exit_status_ ? Result<void>{} : link_.flush();
  }

  void forward_signal() {
    signalfd_siginfo info;
    if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
    link_.send_number(FrameType::kSignal, 0, info.ssi_signo);
  }

  Result<void> read_link() {
    const auto more = link_.fill();
    if (!more) return fail(more.error().message);
    while (true) {
      auto frame = link_.next();
      if (!frame) return fail(frame.error().message);
      if (!*frame) break;
      if (auto done = handle(**frame); !done) return done;
    }
    if (!*more && !exit_status_) return fail("the box went away while the command ran");
    return {};
  }

  Result<void> handle(const Frame& frame) {
    Inlet* inlet = frame.stream == kStdout ? &out_ : &err_;
    switch (frame.type) {
      case FrameType::kData:
        if (!inlet->take(frame.payload)) return fail("the box sent more than its credit");
        break;
      case FrameType::kEof:
        inlet->take_eof();
        break;
      case FrameType::kCredit:
        in_.add_credit(frame.number());
        break;
      case FrameType::kClose:
        in_.stop(link_);
        break;
      case FrameType::kNote:
        std::fprintf(stderr, "lab: %s\n", frame.payload.c_str());
        break;
      case FrameType::kExit:
        exit_status_ = static_cast<int>(frame.number());
        break;
      default:
        return fail("the box sent something unknown");
    }
    return {};
  }

  Link& link_;
  Fd signals_;
  Outlet in_;
  Inlet out_;
  Inlet err_;
  std::optional<int> exit_status_;
};

Result<int> run_command(const Options& options) {
  Fd signals = watch_signals();
  auto link = connect_to_box(options);
  if (!link) return fail(link.error().message);
  link->send(FrameType::kExec, 0, describe_command(options).pack());
  return RemoteCommand(*link, std::move(signals)).run();
}

Result<int> ask_for_relay(const Options& options) {
  uint16_t port = 0;
  const std::string& text = options.rest[0];
  std::from_chars(text.data(), text.data() + text.size(), port);
  if (port == 0) return fail("not a port: " + text);
  auto link = connect_to_box(options);
  if (!link) return fail(link.error().message);
  link->send_number(FrameType::kForward, 0, port);
  if (auto sent = link->drain(-1); !sent) return fail(sent.error().message);
  while (true) {
    auto frame = link->next();
    if (!frame) return fail(frame.error().message);
    if (*frame && (*frame)->type == FrameType::kPort) {
      std::printf("%u\n", (*frame)->number());
      return 0;
    }
    if (*frame) return fail((*frame)->payload);
    pollfd wait{link->fd(), POLLIN, 0};
    ::poll(&wait, 1, -1);
    const auto more = link->fill();
    if (!more || !*more) return fail("the box did not answer");
  }
}

Result<int> ask_monitor(std::span<char* const> arguments) {
  if (arguments.size() != 2) return fail("usage: lab-client monitor SOCKET COMMAND");
  const auto answer = ask_qemu(arguments[0], arguments[1]);
  if (!answer) return fail(answer.error().message);
  std::fputs(answer->c_str(), stdout);
  return 0;
}

Result<int> dispatch(std::span<char* const> arguments) {
  const std::string_view verb = arguments.empty() ? "" : arguments[0];
  if (verb == "monitor") return ask_monitor(arguments.subspan(1));
  if (verb != "run" && verb != "relay") return fail("usage: lab-client run|relay|monitor …");
  const auto options = parse_options(arguments.subspan(1));
  if (!options) return fail(options.error().message);
  return verb == "run" ? run_command(*options) : ask_for_relay(*options);
}

}  // namespace
}  // namespace thimble::lab

int main(int argc, char** argv) {
  thimble::lab::fill_standard_descriptors();
  const std::span<char* const> arguments(argv, static_cast<size_t>(argc));
  const auto status = thimble::lab::dispatch(arguments.subspan(1));
  if (status) return *status;
  std::fprintf(stderr, "lab: %s\n", status.error().message.c_str());
  return thimble::lab::kLabFailure;
}
