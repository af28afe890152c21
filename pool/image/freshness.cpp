// See freshness.h.
#include "pool/image/freshness.h"

namespace thimble::image {

using Clock = std::filesystem::file_time_type::clock;

bool is_older(const Store& store, const Request& request, std::chrono::seconds age) {
  if (request.kind != Request::Kind::kNpm || is_exact(request.npm)) return false;
  if (store.named_at(request.name) >= Clock::now() - age) return false;
  // Its scripts were run on the user's word, which was for that version.
  return !store.key_of(request.name).ends_with(kWithScripts);
}

void note_try(const Store& store, const Request& request) {
  store.set_named_at(request.name, Clock::now() - kResolveAfter + kRetryAfter);
}

}  // namespace thimble::image
