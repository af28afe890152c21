// See template_run.h.
#include "tools/cli/template_run.h"

#include "mcp-agent/server_run.h"
#include "pool/clone.h"
#include "tools/cli/guest_files.h"
#include "tools/cli/host_check.h"
#include "tools/cli/pool_client.h"
#include "tools/cli/say.h"
#include "tools/cli/server_vm.h"

namespace thimble::cli {

namespace {

// From the daemon's pool, or in a process of our own.
Result<VmProcess> start_clone(const TemplateStore& store, const TemplateId& id,
                              const RunOptions& options) {
  auto claimed = claim_from_daemon(id.store, id.name, options);
  if (!claimed) return std::unexpected(claimed.error());
  if (*claimed) return std::move(**claimed);
  auto opened = store.open_template(id.name);
  if (!opened) return std::unexpected(opened.error());
  auto spec = clone_spec(std::move(*opened));
  if (!spec) return std::unexpected(spec.error());
  spec->report_console = options.verbose;
  spec->require_confinement = options.require_confinement;
  return VmProcess::start(std::move(*spec));
}

}  // namespace

Result<TemplateStore> open_templates() {
  const auto cache = cache_directory();
  if (cache.empty()) return fail("find a place for templates: set HOME or THIMBLE_CACHE");
  return TemplateStore::open(cache / "templates");
}

Result<int> run_template(const RunOptions& options) {
  if (auto host = check_host(); !host) return std::unexpected(host.error());
  auto store = open_templates();
  if (!store) return std::unexpected(store.error());
  const TemplateId id{std::filesystem::absolute(store->folder()).string(), options.from_template};
  const std::string version = template_version(id).value_or("");
  auto facts = store->facts(id.name);
  if (!facts) return std::unexpected(facts.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  ServerRun run;
  run.clone = true;
  run.identity = std::move(*identity);
  run.server = facts->server;
  run.server.stdin_grace_ms = stdin_grace_ms(options);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.say = say;
  const auto start = [&]() -> Result<VmProcess> {
    auto vm = start_clone(*store, id, options);
    // What the clone is told must be of the same template as its memory.
    if (!vm || template_version(id).value_or("gone") == version) return vm;
    return fail("template " + id.name + " was replaced or removed just now: run it again");
  };
  return run_server(start, std::move(run));
}

}  // namespace thimble::cli
