// A clone that is about to be started: its template, opened, and what its guest is told.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "devices/result.h"
#include "pool/launch/server_config.h"
#include "pool/pool.h"
#include "pool/template/template.h"

namespace thimble::launch {

struct CloneOrder {
  TemplateId id;
  std::string version;  // of it, when it was looked at
  TemplateStore::Opened opened;
  // Frozen before exec: what to start, in place of what the template says.
  std::optional<ServerSpec> server = {};
};
// A fault for a template that is not there or not whole, or cannot be opened just now.
FileResult<CloneOrder> order_clone(const TemplateStore& store, const std::string& name);

// What a template says, and the variables that are taken from here; or what was asked for.
Result<ServerSpec> server_of(const CloneOrder& order, const Say& say);

// The root file system is the first disk.
std::filesystem::path image_of(const CloneOrder& order);

}  // namespace thimble::launch
