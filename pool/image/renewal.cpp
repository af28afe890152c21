// See renewal.h. THIMBLE_RENEWAL_DIGEST is what SHA-256 makes of all parts (guest-init/init.mk).
#include "pool/image/renewal.h"

namespace thimble::image {

std::string preload(const char* file) {
  return std::string("--require=/") + kRenewalFolder + "/" + file;
}

void compile_ahead(std::vector<std::string>& environment) {
  const std::string ours = "NODE_OPTIONS=" + preload(kRenewFile);
  for (std::string& variable : environment) {
    // The user's own options may follow.
    if (variable == ours || variable.starts_with(ours + " ")) {
      variable.insert(ours.size(), " " + preload(kCompileAheadFile));
    }
  }
}

std::string renewal_digest() { return THIMBLE_RENEWAL_DIGEST; }

}  // namespace thimble::image
