// See template_run.h.
#include "tools/cli/template_run.h"

#include <cstdlib>
#include <map>
#include <string_view>

#include "mcp-agent/server_run.h"
#include "pool/template/clone.h"
#include "tools/cli/early_end.h"
#include "tools/cli/host_check.h"
#include "tools/cli/pool_client.h"
#include "tools/cli/reclaim_setting.h"
#include "tools/cli/say.h"
#include "tools/cli/server_vm.h"
#include "tools/cli/template_make.h"

namespace thimble::cli {

namespace {

// From the daemon's pool, or in a process of our own.
Result<VmProcess> start_clone(const RunOptions& options, CloneOrder& order, bool replaceable) {
  auto claimed = claim_from_daemon(order.id.store, order.id.name, options, replaceable);
  if (!claimed) return std::unexpected(claimed.error());
  if (*claimed) {
    // What the clone is told must be of the same template as its memory.
    if (template_version(order.id).value_or("gone") == order.version) return std::move(**claimed);
    return fail("template " + order.id.name + " was replaced or removed just now: run it again");
  }
  // The rest of what was opened is still needed when the working set comes.
  auto spec = clone_spec({order.opened.facts, std::move(order.opened.files), {}});
  if (!spec) return std::unexpected(spec.error());
  auto reclaim_after = reclaim_setting();
  if (!reclaim_after) return std::unexpected(reclaim_after.error());
  spec->reclaim_after = *reclaim_after;
  spec->report_console = options.verbose;
  spec->require_confinement = options.require_confinement;
  return VmProcess::start(std::move(*spec));
}

// What a template says, and the variables that are taken from here; or what was asked for.
Result<ServerSpec> choose_server(const CloneOrder& order) {
  if (order.server) return *order.server;
  ServerSpec server = order.opened.facts.server;
  std::map<std::string, std::string> base;
  for (const std::string& variable : server.environment) {
    const size_t equals = variable.find('=');
    if (equals != std::string::npos) base[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  auto environment = make_environment(order.opened.facts.inherited, std::move(base));
  if (!environment) return std::unexpected(environment.error());
  server.environment = std::move(*environment);
  return server;
}

// The root file system is the first disk.
std::filesystem::path image_of(const CloneOrder& order) {
  const auto& disks = order.opened.facts.disks;
  return disks.empty() ? std::filesystem::path() : std::filesystem::path(disks.front().path);
}

bool working_sets_wanted() {
  const char* value = std::getenv("THIMBLE_WORKING_SET");
  return value == nullptr || std::string_view(value) != "off";
}

}  // namespace

FileResult<CloneOrder> order_clone(const TemplateStore& store, const std::string& name) {
  const TemplateId id{std::filesystem::absolute(store.folder()).string(), name};
  const std::string version = template_version(id).value_or("");
  auto opened = store.open_template(name);
  if (!opened) return std::unexpected(opened.error());
  return CloneOrder{.id = id,
                    .version = version,
                    .opened = std::move(*opened),
                    .server = {},
                    .on_refused = {},
                    .on_started = {}};
}

Result<int> run_clone(const RunOptions& options, CloneOrder order) {
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto server = choose_server(order);
  if (!server) return std::unexpected(server.error());
  const bool replaceable = static_cast<bool>(order.on_refused);
  ServerRun run;
  run.clone = true;
  run.clone_of = "template " + order.id.name;
  run.identity = std::move(*identity);
  run.server = std::move(*server);
  run.server.stdin_grace_ms = stdin_grace_ms(options);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.on_refused = std::move(order.on_refused);
  run.on_started = [ready_fd = options.ready_fd, told = std::move(order.on_started)] {
    say_ready(ready_fd);
    if (told) told();
  };
  run.on_early_end = explain_early_end(run.server.environment, image_of(order));
  run.say = say;
  run.end_line = end_line;
  if (!working_sets_wanted()) {
    order.opened.files.working_set.reset();
  } else if (!order.opened.files.working_set) {
    run.on_working_set = [&](std::span<const uint8_t> set) {
      auto kept = TemplateStore::keep_working_set(order.opened, set);
      if (!kept && options.verbose) say(kept.error().message);
    };
  }
  return run_server([&] { return start_clone(options, order, replaceable); }, std::move(run));
}

Result<int> run_template(const RunOptions& options) {
  if (auto host = check_host(); !host) return std::unexpected(host.error());
  const std::string& name = options.from_template;
  auto store = open_templates_with(name);
  if (!store) return std::unexpected(store.error());
  auto order = order_clone(*store, name);
  if (!order) return std::unexpected(order.error());
  return run_clone(options, std::move(*order));
}

}  // namespace thimble::cli
