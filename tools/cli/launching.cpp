// See launching.h.
#include "tools/cli/launching.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "devices/base/detached_program.h"
#include "devices/base/pipe.h"

namespace thimble::cli {

Result<Launching> start_launching(Launched launched, const std::vector<std::string>& arguments) {
  auto ready = make_pipe();
  if (!ready) return std::unexpected(ready.error());
  DetachedProgram supervisor{.arguments = {"thimble", "supervise", launched.name()},
                             .environment = environment_of_this_process(),
                             .passed = {ready->write.get()}};
  supervisor.arguments.insert(supervisor.arguments.end(), arguments.begin(), arguments.end());
  if (auto started = start_detached(supervisor); !started) return std::unexpected(started.error());
  return Launching{std::move(launched), std::move(ready->read)};
}

Result<void> await_server(const Launching& launching) {
  const auto& [launched, ready] = launching;
  std::string said(4096, 0);
  ssize_t n = 0;
  while ((n = ::read(ready.get(), said.data(), said.size())) < 0 && errno == EINTR) {
  }
  said.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (said == "\n") return {};
  if (!said.empty()) return fail(said);
  return fail("the server of " + launched.name() + " did not come up: `thimble logs " +
              launched.name() + "` has its words");
}

}  // namespace thimble::cli
