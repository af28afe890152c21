// What building and running images needs: a guest kernel, programs, room on the disk.
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace fs = std::filesystem;

namespace {

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (const std::string& folder : words_of(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    const fs::path candidate = fs::path(folder) / name;
    std::error_code ignored;
    if (fs::is_regular_file(candidate, ignored) && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate.string();
    }
  }
  return "";
}

void check_program(const char* name, const char* purpose, const char* package, Findings& findings) {
  const std::string found = find_program(name);
  const std::string key = name == std::string("mkfs.erofs") ? "mkfs_erofs" : name;
  Finding finding{.key = key, .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{key + "_path", found}};
  if (found.empty()) {
    finding.level = Level::kNote;
    finding.what = text("%s is not installed: it is needed to %s", name, purpose);
    finding.fix = text("apt install %s", package);
  } else {
    finding.what = text("%s: %s", name, found.c_str());
  }
  findings.push_back(std::move(finding));
}

void check_guest_kernel(const Places& places, Findings& findings) {
  const bool there = !places.kernel.empty();
  findings.push_back({"guest_kernel",
                      there ? Level::kOk : Level::kNote,
                      there ? "guest kernel: " + places.kernel : "no guest kernel has been built",
                      there ? "" : "tools/kernel build (minutes, once), or --kernel FILE",
                      {{"guest_kernel_path", places.kernel}}});
}

void check_room(const Places& places, Findings& findings) {
  if (places.cache.empty()) {
    findings.push_back({"cache", Level::kNo, "there is no place for a cache: HOME is not set",
                        "set THIMBLE_CACHE to a folder"});
    return;
  }
  fs::path existing = places.cache;
  std::error_code ignored;
  while (!fs::exists(existing, ignored) && existing != existing.parent_path()) {
    existing = existing.parent_path();
  }
  struct statvfs room{};
  if (::statvfs(existing.c_str(), &room) != 0) return;
  constexpr uint64_t kComfortable = 2048;
  const uint64_t free = (static_cast<uint64_t>(room.f_bavail) * room.f_frsize) >> 20;
  const bool writable = ::access(existing.c_str(), W_OK) == 0;
  Finding finding{.key = "cache", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"cache_path", places.cache.string()}, {"cache_free_mib", free}};
  finding.what = text("cache %s: %lu MiB free", places.cache.c_str(), free);
  if (!writable) {
    finding.level = Level::kNo;
    finding.what += ", but it may not be written";
    finding.fix = "set THIMBLE_CACHE to a folder of yours";
  } else if (free < kComfortable) {
    finding.level = Level::kNote;
    finding.fix =
        "a kernel build needs 2 GiB for a while, an image 50 to 200 MiB: `thimble image "
        "rm` makes room";
  }
  findings.push_back(std::move(finding));
}

}  // namespace

void check_files(const Places& places, Findings& findings) {
  check_guest_kernel(places, findings);
  check_room(places, findings);
  check_program("node", "build images of npm packages", "nodejs", findings);
  check_program("npm", "fetch npm packages", "npm", findings);
  check_program("mkfs.erofs", "build any image", "erofs-utils", findings);
}

}  // namespace thimble::doctor
