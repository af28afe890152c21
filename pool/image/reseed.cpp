// See reseed.h. THIMBLE_RESEED_DIGEST is what SHA-256 makes of all parts (guest-init/init.mk).
#include "pool/image/reseed.h"

namespace thimble::image {

std::string preload(const char* file) {
  return std::string("--require=/") + kReseedFolder + "/" + file;
}

void compile_ahead(std::vector<std::string>& environment) {
  const std::string ours = "NODE_OPTIONS=" + preload(kReseedFile);
  for (std::string& variable : environment) {
    // The user's own options may follow.
    if (variable == ours || variable.starts_with(ours + " ")) {
      variable.insert(ours.size(), " " + preload(kCompileAheadFile));
    }
  }
}

std::string reseed_digest() { return THIMBLE_RESEED_DIGEST; }

}  // namespace thimble::image
