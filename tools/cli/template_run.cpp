// See template_run.h.
#include "tools/cli/template_run.h"

#include <cstdlib>
#include <map>
#include <string_view>

#include "mcp-agent/server_run.h"
#include "pool/launch/server_vm.h"
#include "pool/launch/template_make.h"
#include "pool/template/clone.h"
#include "tools/cli/early_end.h"
#include "tools/cli/host_check.h"
#include "tools/cli/pool_client.h"
#include "tools/cli/reclaim_setting.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

// From the daemon's pool, or in a process of our own.
Result<VmProcess> start_clone(const RunOptions& options, launch::CloneOrder& order,
                              bool replaceable) {
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

bool working_sets_wanted() {
  const char* value = std::getenv("THIMBLE_WORKING_SET");
  return value == nullptr || std::string_view(value) != "off";
}

}  // namespace

Result<int> run_clone(const RunOptions& options, CloneRun clone) {
  launch::CloneOrder& order = clone.order;
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto server = launch::server_of(order, say);
  if (!server) return std::unexpected(server.error());
  const bool replaceable = static_cast<bool>(clone.on_refused);
  ServerRun run;
  run.clone = true;
  run.clone_of = "template " + order.id.name;
  run.identity = std::move(*identity);
  run.server = std::move(*server);
  run.server.stdin_grace_ms = launch::stdin_grace_ms(options);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.on_refused = std::move(clone.on_refused);
  run.on_started = [ready_fd = options.ready_fd, told = std::move(clone.on_started)] {
    say_ready(ready_fd);
    if (told) told();
  };
  run.on_early_end = explain_early_end(run.server.environment, launch::image_of(order));
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
  auto store = launch::open_templates_with(name);
  if (!store) return std::unexpected(store.error());
  auto order = launch::order_clone(*store, name);
  if (!order) return std::unexpected(order.error());
  return run_clone(options, {.order = std::move(*order)});
}

}  // namespace thimble::cli
