#include "guest-init/parent.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace thimble::init {

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
}

void end_as(pid_t server) {
  // The pipes of the server's stdio end with the server, not with its parent.
  syscall(SYS_close_range, 0U, ~0U, 0U);
  prctl(PR_SET_NAME, "thimble-parent");
  prctl(PR_SET_DUMPABLE, 0);  // a second core would take the place of the server's
  int status = 0;
  while (waitpid(server, &status, 0) < 0) {
    if (errno != EINTR) _exit(127);
  }
  if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  signal(number, SIG_DFL);
  kill(getpid(), number);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  _exit(128 + number);
}

}  // namespace thimble::init
