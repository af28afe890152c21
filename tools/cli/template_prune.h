// Which templates go: those that nobody used for long, then the least used until the rest fits.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "pool/template/template.h"

namespace thimble::cli {

struct PruneLimits {
  std::chrono::seconds unused_for{std::chrono::days(30)};
  uint64_t max_bytes = uint64_t{16} << 30;
  std::string keep;  // never removed
};

// The names of those that were removed. Clones that run keep what they use.
std::vector<std::string> prune_templates(const TemplateStore& store, const PruneLimits& limits);

}  // namespace thimble::cli
