// See own_child.h.
#include "tools/cli/own_child.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <span>
#include <utility>

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
  const std::array descriptors{input->read.get(), output->write.get(), errors->write.get(),
                               order.passed};
  const size_t count = descriptors.size() - (order.passed < 0 ? 1 : 0);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid == 0) become(order, std::span(descriptors).first(count), words.data(), parent);
  return OwnChild{pid, std::move(input->write), std::move(output->read), std::move(errors->read)};
}

}  // namespace thimble::cli
