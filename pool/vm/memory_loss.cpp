// See memory_loss.h.
#include "pool/vm/memory_loss.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "pool/vm/vm_channel.h"
#include "thimble/machine.h"

namespace thimble {

namespace {

// A signal handler has no other way to know. Written once, before there are threads.
volatile sig_atomic_t channel_of_this_process = -1;

struct LastMessage {
  uint32_t type = static_cast<uint32_t>(VmMessageType::kEnded);
  uint32_t value = static_cast<uint32_t>(End::Kind::kHostError);
  char text[64] = "the snapshot's memory file was cut while the VM ran";
};

// Two system calls, both in every thread's filter.
void on_lost_page(int /*signal*/) {
  LastMessage message;
  iovec part{&message, sizeof(message) - sizeof(message.text) + std::strlen(message.text)};
  msghdr datagram{};
  datagram.msg_iov = &part;
  datagram.msg_iovlen = 1;
  ::sendmsg(channel_of_this_process, &datagram, MSG_NOSIGNAL | MSG_DONTWAIT);
  ::_exit(EXIT_FAILURE);
}

}  // namespace

Result<void> report_lost_memory(int channel) {
  channel_of_this_process = channel;
  struct sigaction action{};
  action.sa_handler = on_lost_page;
  if (::sigaction(SIGBUS, &action, nullptr) == 0) return {};
  return fail_errno("sigaction SIGBUS");
}

}  // namespace thimble
