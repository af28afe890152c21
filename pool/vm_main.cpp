// See vm_main.h. Threads: this one makes and runs the machine; one more receives from the broker;
// one more reads the console's stream where there is one.
#include "pool/vm_main.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <thread>

#include "guest-init/protocol.h"

namespace thimble {

namespace {

// The announcement is the connection itself: an end whose other end is closed already.
Fd closed_stream() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return Fd();
  ::close(ends[1]);
  return Fd(ends[0]);
}

void write_all(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nobody looks at the console any more
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

// Serves the broker until its other end is gone, which ends the machine.
void serve_broker(Machine& machine, int broker) {
  for (;;) {
    auto received = receive_broker(broker, BrokerSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<BrokerMessage>(&received);
    if (message == nullptr) break;
    machine.connect(message->value, std::move(message->stream));
  }
  machine.stop();
}

void serve_console(Machine& machine, int console) {
  std::array<char, 512> typed{};
  for (;;) {
    const ssize_t n = ::recv(console, typed.data(), typed.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // end of what is typed; the guest goes on
    machine.type({typed.data(), static_cast<size_t>(n)});
  }
}

// Fills in what the machine calls back.
void join_callbacks(VmSpec& spec, int broker, ConsoleTail& tail, bool& announced) {
  const int console = spec.console.get();
  spec.machine.on_serial = [&tail, console](std::span<const uint8_t> bytes) {
    tail.feed(bytes);
    if (console >= 0) write_all(console, bytes);
  };
  spec.machine.on_notice = [broker](const std::string& line) {
    send_broker(broker, BrokerType::kNotice, 0, line, -1, /*wait=*/false);
  };
  if (!spec.machine.vsock) return;
  spec.machine.guest_connect_ports = {protocol::kReadyPort};
  spec.machine.on_guest_connect = [broker, &announced](uint32_t port) {
    if (port != protocol::kReadyPort) return Fd();
    if (!announced) send_broker(broker, BrokerType::kReady, 0, "");
    announced = true;  // a guest that repeats itself is not passed on
    return closed_stream();
  };
}

void report_end(int broker, const End& end, const ConsoleTail& tail) {
  for (const std::string& line : tail.lines()) {
    send_broker(broker, BrokerType::kTail, 0, line);
  }
  const uint32_t panicked = tail.panic().empty() ? 0 : kBrokerPanicked;
  send_broker(broker, BrokerType::kEnded, static_cast<uint32_t>(end.kind) | panicked,
              explain_end(end, tail));
}

}  // namespace

std::string explain_end(const End& end, const ConsoleTail& tail) {
  if (!tail.panic().empty()) return "the guest's kernel panicked: " + tail.panic();
  switch (end.kind) {
    case End::Kind::kPowerOff:
      return "the guest switched itself off";
    case End::Kind::kReset:
      return "the guest reset itself";
    case End::Kind::kTripleFault:
      return "the guest's CPU gave up (triple fault)" +
             (end.message.empty() ? std::string() : ": " + end.message);
    case End::Kind::kStopped:
      return "the VM was stopped";
    case End::Kind::kInternalError:
    case End::Kind::kHostError:
      break;
  }
  return end.message;
}

int run_vm_process(VmSpec spec, Fd broker) {
  ::prctl(PR_SET_NAME, "thimble-vmm");
  // ---- confinement: nothing of the guest has been touched yet ----
  if (spec.confine) {
    if (auto confined = spec.confine(); !confined) {
      send_broker(broker.get(), BrokerType::kRefused, 0, confined.error().message);
      return EXIT_FAILURE;
    }
  }

  ConsoleTail tail([&broker, wanted = spec.report_console](const std::string& line) {
    if (wanted) send_broker(broker.get(), BrokerType::kConsole, 0, line, -1, /*wait=*/false);
  });
  bool announced = false;
  join_callbacks(spec, broker.get(), tail, announced);
  const Fd console = std::move(spec.console);
  auto machine = Machine::create(std::move(spec.machine));
  if (!machine) {
    send_broker(broker.get(), BrokerType::kRefused, 0, machine.error().message);
    return EXIT_FAILURE;
  }

  std::thread broker_thread([&] { serve_broker(**machine, broker.get()); });
  std::thread console_thread;
  if (console) console_thread = std::thread([&] { serve_console(**machine, console.get()); });

  const End end = (*machine)->run();
  tail.finish();
  report_end(broker.get(), end, tail);
  // The threads wait in recv(): this ends them. What was sent can still be read.
  ::shutdown(broker.get(), SHUT_RD);
  broker_thread.join();
  if (console_thread.joinable()) {
    ::shutdown(console.get(), SHUT_RDWR);
    console_thread.join();
  }
  return EXIT_SUCCESS;
}

}  // namespace thimble
