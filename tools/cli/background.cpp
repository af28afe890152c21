// See background.h.
#include "tools/cli/background.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace thimble::cli {

namespace {

// Between fork and exec: nothing but system calls. CMD may name files relative to where we are.
[[noreturn]] void become(char* const* words) {
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) ::_exit(1);
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  ::close_range(3, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv("/proc/self/exe", words);
  ::_exit(127);
}

}  // namespace

Result<void> start_in_background(const Arguments& arguments) {
  std::string program = "thimble";
  std::vector<std::string> copies(arguments);
  std::vector<char*> words = {program.data()};
  for (std::string& word : copies) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("start a process in the background");
  if (child == 0) {
    // Once more, so that it is nobody's child that would have to be waited for.
    const pid_t again = ::fork();
    if (again == 0) become(words.data());
    ::_exit(again < 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return fail("start a process in the background: no process could be made");
  return {};
}

}  // namespace thimble::cli
