// `thimble run`: from the command line to the server in its VM.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "mcp-agent/server_run.h"
#include "pool/launch/auto_template.h"
#include "pool/launch/boot_turn.h"
#include "pool/launch/server_vm.h"
#include "tools/cli/commands.h"
#include "tools/cli/early_end.h"
#include "tools/cli/host_check.h"
#include "tools/cli/run_options.h"
#include "tools/cli/say.h"
#include "tools/cli/template_run.h"

namespace thimble::cli {

namespace {

// Boots. `on_started` hears that the server runs.
Result<int> run_cold(const RunOptions& options, const image::Prepared& prepared, ServerSpec server,
                     const std::function<void()>& on_started) {
  auto vm = launch::make_vm(options, prepared);
  if (!vm) return std::unexpected(vm.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto mounts = launch::make_mounts(prepared);
  if (!mounts) return std::unexpected(mounts.error());
  ServerRun run;
  run.identity = std::move(*identity);
  run.identity.mounts = std::move(*mounts);
  run.server = std::move(server);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.on_started = [&] {
    say_ready(options.ready_fd);
    on_started();
  };
  run.on_early_end = explain_early_end(run.server.environment, prepared.image.erofs);
  run.say = say;
  run.end_line = end_line;
  return run_server([&vm] { return VmProcess::start(std::move(*vm)); }, std::move(run));
}

// A clone of the template that is there for CMD. Nothing: there is none, or it was refused.
// `on_started` hears that its server runs.
std::optional<Result<int>> try_clone(const RunOptions& options,
                                     const launch::AutoTemplate& templates,
                                     const Arguments& arguments, std::string& refused,
                                     const std::function<void()>& on_started) {
  auto order = templates.find();
  if (!order) return std::nullopt;
  const std::string name = order->id.name;
  if (options.verbose) say("a clone of " + name);
  CloneRun clone{.order = std::move(*order)};
  clone.on_refused = [&](std::string_view why) {
    say("template " + name + ": " + std::string(why) + ": booting instead");
    refused = name;
  };
  const bool is_best = clone.order.opened.facts.point == templates.best_point();
  clone.on_started = [&templates, &arguments, &on_started, is_best] {
    on_started();
    if (!is_best) templates.make_in_background(arguments, {}, {});
  };
  auto status = run_clone(options, std::move(clone));
  if (status && *status == kExitRefused) return std::nullopt;
  return status;
}

// Nobody writes to our stdin any more, and nobody reads our stdout.
bool client_has_left() {
  std::array<pollfd, 2> ends{{{STDIN_FILENO, 0, 0}, {STDOUT_FILENO, 0, 0}}};
  if (::poll(ends.data(), ends.size(), 0) <= 0) return false;
  return (ends[0].revents & POLLHUP) != 0 && (ends[1].revents & (POLLERR | POLLHUP)) != 0;
}

Result<int> run(const RunOptions& options, const Arguments& arguments) {
  if (!options.from_template.empty()) return run_template(options);
  auto prepared = prepare_server(options);
  if (!prepared) return std::unexpected(prepared.error());
  if (!prepared->not_found.empty()) {
    say(prepared->not_found);
    return kExitNotFound;
  }
  auto server = launch::make_server(options, *prepared, say);
  if (!server) return std::unexpected(server.error());
  const auto templates = launch::AutoTemplate::open(options, *prepared, *server, say);
  std::string refused;
  if (templates) {
    if (auto status = try_clone(options, *templates, arguments, refused, [] {})) {
      return *status;
    }
  }
  // One that was refused is not waited for.
  const bool may_be_clone = templates && refused.empty();
  auto turn = launch::take_boot_turn(may_be_clone ? templates->names() : std::vector<std::string>(),
                                     options.verbose, say);
  if (!turn) return std::unexpected(turn.error());
  // Others that wait need not wait for a VM that nobody would hear of.
  if (turn->waited() && client_has_left()) return kExitSignalBase + SIGPIPE;
  if (may_be_clone && turn->waited() && templates->is_there()) {
    // Made by those that went before. It takes its turn like a boot: there may be many such.
    auto status = try_clone(options, *templates, arguments, refused, [&turn] { turn->release(); });
    if (status) return *status;
  }
  // Given back when the server runs.
  return run_cold(options, *prepared, std::move(*server), [&] {
    if (templates) templates->make_in_background(arguments, refused, std::move(*turn));
    turn->release();
  });
}

}  // namespace

int run_command(const Arguments& arguments) {
  auto parsed = parse_run(arguments);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const auto& options = std::get<RunOptions>(parsed);
  // Nothing that thimble starts besides gets it: its reader sees the end when this process ends.
  if (options.ready_fd >= 0 && ::fcntl(options.ready_fd, F_SETFD, FD_CLOEXEC) != 0) {
    return usage_error("thimble run",
                       "--ready-fd " + std::to_string(options.ready_fd) + ": is not open");
  }
  auto status = run(options, arguments);
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
