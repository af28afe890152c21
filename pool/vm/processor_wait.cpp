// See processor_wait.h: the second number of each thread's schedstat, in nanoseconds.
#include "pool/vm/processor_wait.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace thimble {

std::chrono::milliseconds processor_wait(pid_t process) {
  std::uint64_t longest = 0;
  std::error_code code;
  const std::string threads = "/proc/" + std::to_string(process) + "/task";
  for (std::filesystem::directory_iterator it(threads, code), end; !code && it != end;
       it.increment(code)) {
    std::uint64_t ran = 0;
    std::uint64_t waited = 0;
    std::ifstream(it->path() / "schedstat") >> ran >> waited;
    longest = std::max(longest, waited);
  }
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(longest));
}

}  // namespace thimble
