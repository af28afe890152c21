// See template_run.h.
#include "tools/cli/template_run.h"

#include "mcp-agent/server_run.h"
#include "tools/cli/guest_files.h"
#include "tools/cli/host_check.h"
#include "tools/cli/say.h"
#include "tools/cli/server_vm.h"

namespace thimble::cli {

namespace {

Result<VmSpec> make_clone(const RunOptions& options, TemplateStore::Opened opened) {
  VmSpec spec;
  spec.machine.memory_bytes = opened.facts.memory_bytes;
  spec.machine.vcpus = opened.facts.vcpus;
  spec.machine.vsock.emplace();
  spec.report_console = options.verbose;
  spec.require_confinement = options.require_confinement;
  for (const auto& [path, name] : opened.facts.disks) {
    auto disk = open_disk(path, name);
    if (!disk) return fail(disk.error().message + ": make the template again");
    spec.machine.disks.push_back(std::move(*disk));
  }
  spec.snapshot = std::move(opened.files);
  return spec;
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
  auto opened = store->open_template(options.from_template);
  if (!opened) return std::unexpected(opened.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  ServerRun run;
  run.clone = true;
  run.identity = std::move(*identity);
  run.server = opened->facts.server;
  run.server.stdin_grace_ms = stdin_grace_ms(options);
  run.timeout = options.timeout;
  run.verbose = options.verbose;
  run.say = say;
  auto vm = make_clone(options, std::move(*opened));
  if (!vm) return std::unexpected(vm.error());
  return run_server([&vm] { return VmProcess::start(std::move(*vm)); }, std::move(run));
}

}  // namespace thimble::cli
