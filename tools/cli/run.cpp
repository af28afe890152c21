// `thimble run`: from the command line to the server in its VM.
#include "mcp-agent/server_run.h"
#include "tools/cli/commands.h"
#include "tools/cli/run_options.h"
#include "tools/cli/say.h"
#include "tools/cli/server_vm.h"
#include "tools/cli/template_run.h"

namespace thimble::cli {

namespace {

Result<int> run(const RunOptions& options) {
  if (!options.from_template.empty()) return run_template(options);
  auto prepared = prepare_server(options);
  if (!prepared) return std::unexpected(prepared.error());
  auto vm = make_vm(options, *prepared);
  if (!vm) return std::unexpected(vm.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto mounts = make_mounts(*prepared);
  if (!mounts) return std::unexpected(mounts.error());
  auto server = make_server(options, *prepared);
  if (!server) return std::unexpected(server.error());
  ServerRun run;
  run.identity = std::move(*identity);
  run.identity.mounts = std::move(*mounts);
  run.server = std::move(*server);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.say = say;
  return run_server([&vm] { return VmProcess::start(std::move(*vm)); }, std::move(run));
}

}  // namespace

int run_command(const Arguments& arguments) {
  auto parsed = parse_run(arguments);
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  auto status = run(std::get<RunOptions>(parsed));
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
