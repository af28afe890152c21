// See file_mark.h.
#include "pool/template/file_mark.h"

#include <sys/stat.h>

#include "devices/text.h"

namespace thimble {

namespace {

std::string mark_of(const struct stat& info) {
  return text("%llu %llu %lld %lld.%09ld %lld.%09ld", static_cast<unsigned long long>(info.st_dev),
              static_cast<unsigned long long>(info.st_ino), static_cast<long long>(info.st_size),
              static_cast<long long>(info.st_mtim.tv_sec), info.st_mtim.tv_nsec,
              static_cast<long long>(info.st_ctim.tv_sec), info.st_ctim.tv_nsec);
}

}  // namespace

Result<std::string> file_mark(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("look at a file");
  return mark_of(info);
}

Result<std::string> file_mark(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail_errno("look at " + path);
  return mark_of(info);
}

}  // namespace thimble
