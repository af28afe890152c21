// See server_streams.h.
#include "pool/guest/server_streams.h"

#include <sys/socket.h>

namespace thimble {

Result<Fd> connect_stream(VmProcess& vm, protocol::Stream which, uint32_t process) {
  auto socket = vm.connect(protocol::kStreamPort);
  if (!socket) return std::unexpected(socket.error());
  const protocol::StreamPreface preface{protocol::kStreamMagic, which, process};
  if (::send(socket->get(), &preface, sizeof preface, MSG_NOSIGNAL) != sizeof preface) {
    return fail_errno("open a stream to the guest");
  }
  return std::move(*socket);
}

Result<ServerStreams> connect_streams(VmProcess& vm, uint32_t process, bool has_terminal) {
  ServerStreams streams;
  auto input = connect_stream(vm, protocol::kStdin, process);
  if (!input) return std::unexpected(input.error());
  auto output = connect_stream(vm, protocol::kStdout, process);
  if (!output) return std::unexpected(output.error());
  if (!has_terminal) {
    auto error = connect_stream(vm, protocol::kStderr, process);
    if (!error) return std::unexpected(error.error());
    streams.error = std::move(*error);
  }
  streams.input = std::move(*input);
  streams.output = std::move(*output);
  return streams;
}

}  // namespace thimble
