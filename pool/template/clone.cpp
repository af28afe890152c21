// See clone.h.
#include "pool/template/clone.h"

#include <unistd.h>

#include <filesystem>

#include "pool/template/file_mark.h"
#include "vmm/load/read_file.h"

namespace thimble {

Result<VmSpec> clone_spec(TemplateStore::Opened opened) {
  VmSpec spec;
  spec.machine.memory_bytes = opened.facts.memory_bytes;
  spec.machine.vcpus = opened.facts.vcpus;
  spec.machine.vsock.emplace();
  for (const auto& [path, name] : opened.facts.disks) {
    Disk disk;
    auto file = open_image(path);
    if (!file) return fail_in("make the template again", file);
    disk.file = std::move(*file);
    disk.name = name;
    spec.machine.disks.push_back(std::move(disk));
  }
  spec.snapshot = std::move(opened.files);
  return spec;
}

// Every template is written anew, its facts last (template.h).
FileResult<std::string> template_version(const TemplateId& id) {
  // Made with its template and never changed; the file of facts changes with each use.
  const std::string state = (std::filesystem::path(id.store) / id.name / "state").string();
  if (::access(state.c_str(), F_OK) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return file_fault("look at " + state);
    const std::string none = "there is no template " + id.name;
    return std::unexpected(FileFault{{none}, FileFault::Kind::kMissing});
  }
  auto mark = file_mark(state);
  if (!mark) return std::unexpected(FileFault{mark.error()});
  return std::move(*mark);
}

Result<PoolWorld::WarmVm> start_warm_vm(const TemplateId& id, const WarmVmOptions& options) {
  auto version = template_version(id);
  if (!version) return std::unexpected(version.error());
  auto store = TemplateStore::open(id.store);
  if (!store) return std::unexpected(store.error());
  auto opened = store->open_template(id.name);
  if (!opened) return std::unexpected(opened.error());
  if (!options.use_working_set) opened->files.working_set.reset();
  auto spec = clone_spec(std::move(*opened));
  if (!spec) return std::unexpected(spec.error());
  spec->warm = true;
  spec->reclaim_after = options.reclaim_after;
  const uint64_t memory_bytes = spec->machine.memory_bytes;
  auto vm = VmProcess::start(std::move(*spec));
  if (!vm) return std::unexpected(vm.error());
  return PoolWorld::WarmVm{std::move(*vm), std::move(*version), memory_bytes};
}

}  // namespace thimble
