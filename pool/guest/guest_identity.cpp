// See guest_identity.h.
#include "pool/guest/guest_identity.h"

#include <sys/random.h>
#include <time.h>

namespace thimble {

namespace {

constexpr size_t kEntropyBytes = 64;

}  // namespace

Result<GuestIdentity> make_identity() {
  GuestIdentity identity;
  identity.hostname = "thimble";
  identity.wall_clock_ns = wall_clock_ns();
  identity.entropy.resize(kEntropyBytes);
  if (::getrandom(identity.entropy.data(), kEntropyBytes, 0) != kEntropyBytes) {
    return fail_errno("get random bytes for the guest");
  }
  return identity;
}

uint64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace thimble
