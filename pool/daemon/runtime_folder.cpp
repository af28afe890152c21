// See runtime_folder.h.
#include "pool/daemon/runtime_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace thimble {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_our_folder(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
}

}  // namespace

Result<void> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("make " + path);
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return fail_errno("look at " + path);
  const bool ours = S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
  if (ours && (info.st_mode & 0077) == 0) return {};
  return fail(path + ": this must be a folder of yours that nobody else can enter (chmod 700)");
}

Result<std::string> runtime_folder() {
  const std::string uid = std::to_string(::geteuid());
  std::string path = variable("THIMBLE_RUNTIME");
  if (path.empty()) {
    std::string base = variable("XDG_RUNTIME_DIR");
    if (base.empty() || !is_our_folder(base)) base = "/run/user/" + uid;
    path = is_our_folder(base) ? base + "/thimble" : "/tmp/thimble-" + uid;
  }
  if (path.front() != '/') return fail("THIMBLE_RUNTIME=" + path + ": name an absolute path");
  if (auto made = make_private_folder(path); !made) return std::unexpected(made.error());
  return path;
}

}  // namespace thimble
