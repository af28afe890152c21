// From a template to a VM process of it: a clone that runs at once, or a warm VM (VmSpec::warm).
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "pool/pool.h"
#include "pool/template/template.h"
#include "pool/vm/vm_process.h"

namespace thimble {

// The shape that the template was frozen with, its disks opened. Disks that are gone: "make the
// template again".
Result<VmSpec> clone_spec(TemplateStore::Opened opened);

// What changes when a template is replaced by another one of its name; an error when there is none.
FileResult<std::string> template_version(const TemplateId& id);

struct WarmVmOptions {
  bool use_working_set = true;
  std::optional<std::chrono::milliseconds> reclaim_after;  // VmSpec::reclaim_after
};

// For PoolWorld::start_warm_vm.
Result<PoolWorld::WarmVm> start_warm_vm(const TemplateId& id, const WarmVmOptions& options);

}  // namespace thimble
