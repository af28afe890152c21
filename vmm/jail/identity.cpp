// See identity.h.
#include "vmm/jail/identity.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <string>

#include "devices/fd.h"
#include "devices/text.h"

namespace thimble {

namespace {

constexpr uid_t kNobody = 65534;

Result<void> write_file(const std::string& path, const std::string& content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return fail_errno("open " + path);
  if (::write(file.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
    return fail_errno("write " + path);
  }
  return {};
}

Result<void> write_maps(pid_t child, const Identity& identity) {
  const std::string folder = text("/proc/%d/", child);
  if (!identity.set_groups) {
    if (auto done = write_file(folder + "setgroups", "deny"); !done) return done;
  }
  if (auto done = write_file(folder + "uid_map", text("%u %u 1", identity.uid, identity.uid));
      !done) {
    return done;
  }
  return write_file(folder + "gid_map", text("%u %u 1", identity.gid, identity.gid));
}

}  // namespace

Result<Identity> give_identity(pid_t child, bool user_namespace) {
  const bool root = ::geteuid() == 0;
  Identity identity{.uid = ::geteuid(), .gid = ::getegid(), .set_groups = root};
  if (root) identity.uid = identity.gid = kFirstUid + static_cast<uid_t>(child);
  if (!user_namespace) return identity;
  auto written = write_maps(child, identity);
  if (!written && root) {
    identity.uid = identity.gid = kNobody;
    written = write_maps(child, identity);
  }
  if (!written) return std::unexpected(written.error());
  return identity;
}

Result<void> take_identity(const Identity& identity) {
  // Without a user namespace, leaving uid 0 would take the capabilities that the next steps need.
  ::prctl(PR_SET_KEEPCAPS, 1);
  if (identity.set_groups && ::setgroups(0, nullptr) != 0) return fail_errno("setgroups");
  if (::setresgid(identity.gid, identity.gid, identity.gid) != 0) return fail_errno("setresgid");
  if (::setresuid(identity.uid, identity.uid, identity.uid) != 0) return fail_errno("setresuid");
  return {};
}

void empty_bounding_set() {
  capng_clear(CAPNG_SELECT_BOUNDS);
  capng_apply(CAPNG_SELECT_BOUNDS);
}

Result<void> drop_capabilities() {
  capng_clear(CAPNG_SELECT_BOTH);
  if (capng_apply(CAPNG_SELECT_CAPS) != 0) return fail_errno("capset");
  // Ambient ones went with the permitted ones.
  return {};
}

Result<void> renounce_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("PR_SET_DUMPABLE");
  return {};
}

}  // namespace thimble
