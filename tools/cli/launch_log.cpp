// See launch_log.h.
#include "tools/cli/launch_log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "devices/text.h"

namespace thimble::cli {

namespace {

// How many of them were written; fewer than all with errno.
size_t write_to(int fd, std::string_view bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    written += static_cast<size_t>(n);
  }
  return written;
}

}  // namespace

LaunchLog::LaunchLog(std::string path, std::function<Fd()> open)
    : path_(std::move(path)), open_(std::move(open)), file_(open_()) {}

void LaunchLog::begin_anew_when_long() {
  struct stat info{};
  if (!file_) {
    file_ = open_();
    return;
  }
  if (::fstat(file_.get(), &info) != 0 || info.st_size <= kMaxBytes) return;
  ::rename(path_.c_str(), (path_ + ".1").c_str());
  file_ = open_();
}

void LaunchLog::write(std::string_view bytes) {
  begin_anew_when_long();
  size_t written = 0;
  if (tell_lost()) written = write_to(file_.get(), bytes);
  if (written == bytes.size()) return;
  error_ = errno;
  lost_ += bytes.size() - written;
}

// False: writing still fails.
bool LaunchLog::tell_lost() {
  if (lost_ == 0) return true;
  const std::string line =
      text("\nthimble: %s: %lu bytes of this log were lost here\n", std::strerror(error_), lost_);
  const off_t end = ::lseek(file_.get(), 0, SEEK_END);
  if (write_to(file_.get(), line) < line.size()) {
    const int why = errno;
    // Half of the line is no line.
    if (end >= 0 && ::ftruncate(file_.get(), end) != 0) return false;
    errno = why;
    return false;
  }
  lost_ = 0;
  return true;
}

}  // namespace thimble::cli
