// See server_streams.h.
#include "pool/guest/server_streams.h"

#include <sys/socket.h>

namespace thimble {

Result<Fd> connect_stream(VmProcess& vm, protocol::Stream which) {
  auto socket = vm.connect(protocol::kStreamPort);
  if (!socket) return std::unexpected(socket.error());
  const protocol::StreamPreface preface{protocol::kStreamMagic, which};
  if (::send(socket->get(), &preface, sizeof preface, MSG_NOSIGNAL) != sizeof preface) {
    return fail_errno("open a stream to the guest");
  }
  return std::move(*socket);
}

Result<ServerStreams> connect_streams(VmProcess& vm) {
  ServerStreams streams;
  auto input = connect_stream(vm, protocol::kStdin);
  if (!input) return std::unexpected(input.error());
  auto output = connect_stream(vm, protocol::kStdout);
  if (!output) return std::unexpected(output.error());
  auto error = connect_stream(vm, protocol::kStderr);
  if (!error) return std::unexpected(error.error());
  return ServerStreams{std::move(*input), std::move(*output), std::move(*error)};
}

}  // namespace thimble
