// The log of a launched VM, for as long as it runs: two files of a megabyte, the older one PATH.1.
// A full disk costs lines, not the server; how much is said in the log once it can be written
// again.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "devices/fd.h"

namespace thimble::cli {

class LaunchLog {
 public:
  static constexpr off_t kMaxBytes = off_t{1} << 20;

  // `open` opens the file at `path`, which is made when it is not there, to append to it.
  LaunchLog(std::string path, std::function<Fd()> open);

  // May wait for the disk, for nothing else.
  void write(std::string_view bytes);

 private:
  void begin_anew_when_long();
  [[nodiscard]] bool tell_lost();

  std::string path_;
  std::function<Fd()> open_;
  Fd file_;
  uint64_t lost_ = 0;  // bytes, not told yet
  int error_ = 0;      // why
};

}  // namespace thimble::cli
