// See template_prune.h.
#include "tools/cli/template_prune.h"

#include <algorithm>
#include <ctime>

#include "tools/cli/say.h"

namespace thimble::cli {

std::vector<std::string> prune_templates(const TemplateStore& store, const PruneLimits& limits) {
  struct Candidate {
    std::string name;
    uint64_t last_use;
    uint64_t bytes;
  };
  store.sweep(limits.unused_for);
  std::vector<Candidate> candidates;
  for (std::string& name : store.names()) {
    const uint64_t last_use = store.last_use(name);
    const uint64_t bytes = store.stored_bytes(name);
    candidates.push_back({std::move(name), last_use, bytes});
  }
  std::ranges::sort(candidates, std::greater(), &Candidate::last_use);
  const auto now = static_cast<uint64_t>(::time(nullptr));
  const auto age = static_cast<uint64_t>(limits.unused_for.count());
  std::vector<std::string> removed;
  uint64_t kept_bytes = 0;
  for (const Candidate& candidate : candidates) {
    const bool old = candidate.last_use + age < now;
    const bool fits = kept_bytes + candidate.bytes <= limits.max_bytes;
    if (candidate.name == limits.keep || (!old && fits)) {
      kept_bytes += candidate.bytes;
    } else if (auto gone = store.remove(candidate.name)) {
      removed.push_back(candidate.name);
    } else {
      say(gone.error().message);
    }
  }
  return removed;
}

}  // namespace thimble::cli
