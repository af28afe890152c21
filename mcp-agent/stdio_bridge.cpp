// See stdio_bridge.h.
#include "mcp-agent/stdio_bridge.h"

#include <sys/stat.h>

#include <utility>

namespace thimble {

namespace {

// Enough for what a server says before it gives up.
constexpr size_t kErrorBeginning = size_t{16} * 1024;

}  // namespace

// The user's stderr is kept open after the server closed its own: messages of ours still go there.
StdioBridge::StdioBridge(UserStdio user, ServerStreams server)
    : flows_{ByteFlow(Endpoint::user_input(user.input), Endpoint::stream(std::move(server.input))),
             ByteFlow(Endpoint::stream(std::move(server.output)),
                      Endpoint::user_output(user.output, /*keep=*/false)),
             ByteFlow(Endpoint::stream(std::move(server.error)),
                      Endpoint::user_output(user.error, /*keep=*/true), ByteFlow::kDefaultCapacity,
                      ByteFlow::OnError::kGoOn)} {
  flows_[2].mark_lines();
  flows_[2].remember(kErrorBeginning);
}

std::array<pollfd, StdioBridge::kEntries> StdioBridge::entries() const {
  std::array<pollfd, kEntries> out{};
  for (size_t i = 0; i < flows_.size(); ++i) {
    out[2 * i] = flows_[i].source_entry();
    out[2 * i + 1] = flows_[i].sink_entry();
  }
  return out;
}

void StdioBridge::serve(std::span<const pollfd, kEntries> answered) {
  for (size_t i = 0; i < flows_.size(); ++i) {
    flows_[i].serve(answered[2 * i].revents, answered[2 * i + 1].revents);
  }
}

void StdioBridge::end_input() {
  flows_[0].end_input();
  flows_[0].serve(0, 0);
}

bool input_is_a_client(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return false;
  return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
}

}  // namespace thimble
