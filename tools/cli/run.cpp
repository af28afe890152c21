// `thimble run`: from the command line to the server in its VM.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "mcp-agent/server_run.h"
#include "pool/launch/start_world.h"
#include "tools/cli/commands.h"
#include "tools/cli/early_end.h"
#include "tools/cli/host_check.h"
#include "tools/cli/reclaim_setting.h"
#include "tools/cli/run_options.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

// Nobody writes to our stdin any more, and nobody reads our stdout.
bool client_has_left() {
  std::array<pollfd, 2> ends{{{STDIN_FILENO, 0, 0}, {STDOUT_FILENO, 0, 0}}};
  if (::poll(ends.data(), ends.size(), 0) <= 0) return false;
  return (ends[0].revents & POLLHUP) != 0 && (ends[1].revents & (POLLERR | POLLHUP)) != 0;
}

// From here to the end of the server; its status, or kExitRefused.
int run_start(const RunOptions& options, launch::Start start,
              const std::function<void(std::string_view why)>& on_refused) {
  ServerRun run;
  run.clone = !start.template_name.empty();
  if (run.clone) run.clone_of = "template " + start.template_name;
  if (start.is_replaceable) run.on_refused = on_refused;
  run.identity = std::move(start.identity);
  run.server = std::move(start.server);
  run.exec_listener = exec_listener(options.exec_fd);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.on_started = [&] {
    say_ready(options.ready_fd);
    start.on_started();
  };
  run.on_working_set = std::move(start.on_working_set);
  run.on_early_end = explain_early_end(run.server.environment, start.image);
  run.say = say;
  run.end_line = end_line;
  const auto start_vm = [&start]() -> Result<VmProcess> {
    auto source = start.obtain();
    if (!source) return std::unexpected(source.error());
    return launch::start_vm(std::move(*source));
  };
  return run_server(start_vm, std::move(run));
}

Result<int> run(const RunOptions& options, const Arguments& arguments) {
  const launch::StartCaller caller{
      .check_host = check_host, .say = say, .client_has_left = client_has_left, .words = arguments};
  if (!options.from_template.empty()) {
    auto start = launch::start_of_template(options, caller);
    if (!start) return std::unexpected(start.error());
    return run_start(options, std::move(*start), nullptr);
  }
  auto world = launch::HostStartWorld::open(options, caller);
  if (!world) return std::unexpected(world.error());
  if (!(*world)->not_found().empty()) {
    say((*world)->not_found());
    return kExitNotFound;
  }
  launch::StartPlan plan(**world, (*world)->uses_templates());
  for (;;) {
    auto start = plan.next();
    if (!start) return std::unexpected(start.error());
    if (!*start) return kExitSignalBase + SIGPIPE;
    const int status = run_start(options, std::move(**start),
                                 [&plan](std::string_view why) { plan.refused(why); });
    if (status != kExitRefused) return status;
  }
}

}  // namespace

int run_command(const Arguments& arguments) {
  auto parsed = parse_run(arguments);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  auto& options = std::get<RunOptions>(parsed);
  // Nothing that thimble starts besides gets them: their other ends see the end of this process.
  for (const auto& [name, fd] :
       {std::pair("--ready-fd ", options.ready_fd), {"--exec-fd ", options.exec_fd}}) {
    if (fd >= 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
      return usage_error("thimble run", name + std::to_string(fd) + ": is not open");
    }
  }
  auto reclaim_after = reclaim_setting();
  if (!reclaim_after) return say(reclaim_after.error().message), kExitFailure;
  options.reclaim_after = *reclaim_after;
  auto status = run(options, arguments);
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
