// See runtime_folder.h.
#include "pool/daemon/runtime_folder.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace thimble {

namespace {

constexpr FolderRules kRules{
    .if_foreign = "name a folder of your own with THIMBLE_RUNTIME, or have it removed"};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_our_folder(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
}

// A home may be shared by hosts, and a daemon's lock and sockets are one host's.
std::string folder_in_cache() {
  std::string cache = variable("THIMBLE_CACHE");
  if (cache.empty() && !variable("XDG_CACHE_HOME").empty()) {
    cache = variable("XDG_CACHE_HOME") + "/thimble";
  }
  if (cache.empty() && !variable("HOME").empty()) cache = variable("HOME") + "/.cache/thimble";
  utsname host{};
  if (cache.empty() || ::uname(&host) != 0) return "";
  std::string name(host.nodename);
  std::ranges::replace(name, '/', '_');
  return cache + "/run/" + (name.empty() || name.front() == '.' ? "host" : name);
}

// Of the session, or of the system for root: made by whoever has set up the user, never in a place
// like /tmp.
std::string folder_of_session() {
  for (const std::string& base :
       {variable("XDG_RUNTIME_DIR"), "/run/user/" + std::to_string(::geteuid()),
        std::string(::geteuid() == 0 ? "/run" : "")}) {
    if (!base.empty() && is_our_folder(base)) return base + "/thimble";
  }
  return "";
}

}  // namespace

Result<OwnedFolder> runtime_folder() {
  std::string path = variable("THIMBLE_RUNTIME");
  if (!path.empty() && path.front() != '/') {
    return fail("THIMBLE_RUNTIME=" + path + ": name an absolute path");
  }
  if (path.empty()) path = folder_of_session();
  if (path.empty()) path = folder_in_cache();
  if (path.empty()) return fail("find a place for sockets: set XDG_RUNTIME_DIR or HOME");
  return OwnedFolder::make(path, kRules);
}

}  // namespace thimble
