// See own_child.h.
#include "tools/cli/own_child.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <span>
#include <utility>
#include <vector>

#include "devices/base/argument_pointers.h"
#include "devices/base/descriptor_places.h"
#include "devices/base/pipe.h"

namespace thimble::cli {

namespace {

constexpr int kNoProgram = 127;

// Between fork and exec.
[[noreturn]] void become(const OwnChildOrder& order, std::span<const int> descriptors,
                         char* const* words, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, order.signal_at_end);
  if (::getppid() != parent) ::_exit(kNoProgram);
  if (order.in_root && ::chdir("/") != 0) ::_exit(kNoProgram);
  if (!place_descriptors(descriptors, STDIN_FILENO)) ::_exit(kNoProgram);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
  ::execv("/proc/self/exe", words);
  ::_exit(kNoProgram);
}

}  // namespace

Result<OwnChild> start_own_child(OwnChildOrder order) {
  auto input = make_pipe();
  auto output = make_pipe();
  auto errors = make_pipe();
  for (const auto* pipe : {&input, &output, &errors}) {
    if (!*pipe) return std::unexpected(pipe->error());
  }
  order.arguments.insert(order.arguments.begin(), "thimble");
  const std::vector<char*> words = argument_pointers(order.arguments);
  std::vector<int> descriptors{input->read.get(), output->write.get(), errors->write.get()};
  descriptors.insert(descriptors.end(), order.passed.begin(), order.passed.end());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid == 0) become(order, descriptors, words.data(), parent);
  return OwnChild{pid, std::move(input->write), std::move(output->read), std::move(errors->read)};
}

}  // namespace thimble::cli
