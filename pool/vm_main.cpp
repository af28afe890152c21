// See vm_main.h. Threads: this one makes and runs the machine; one more receives from the broker;
// one more serves the console's stream where there is one.
#include "pool/vm_main.h"

#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <memory>
#include <thread>

#include "guest-init/protocol.h"
#include "pool/console_stream.h"

namespace thimble {

namespace {

// How long a console's reader may take for the guest's last words.
constexpr std::chrono::milliseconds kLastWordsPatience{500};

// The announcement is the connection itself: an end whose other end is closed already.
Fd closed_stream() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return Fd();
  ::close(ends[1]);
  return Fd(ends[0]);
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

// Fills in what the machine calls back.
void join_callbacks(VmSpec& spec, int broker, ConsoleTail& tail, ConsoleStream* console,
                    bool& announced) {
  spec.machine.on_serial = [&tail, console](std::span<const uint8_t> bytes) {
    tail.feed(bytes);
    if (console != nullptr) console->write(bytes);
  };
  spec.machine.on_notice = [broker](const std::string& line) {
    send_broker(broker, BrokerType::kNotice, 0, line, -1, /*wait=*/false);
  };
  if (!spec.machine.vsock) return;
  spec.machine.guest_connect_ports = {protocol::kReadyPort};
  spec.machine.on_guest_connect = [broker, &announced](uint32_t port) {
    if (port != protocol::kReadyPort) return Fd();
    if (announced) return Fd();  // a guest that repeats itself is refused
    announced = true;
    send_broker(broker, BrokerType::kReady, 0, "");
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
  std::unique_ptr<ConsoleStream> console;
  if (spec.console) {
    auto made = ConsoleStream::make(std::move(spec.console));
    if (!made) {
      send_broker(broker.get(), BrokerType::kRefused, 0, made.error().message);
      return EXIT_FAILURE;
    }
    console = std::move(*made);
  }
  join_callbacks(spec, broker.get(), tail, console.get(), announced);
  auto machine = Machine::create(std::move(spec.machine));
  if (!machine) {
    send_broker(broker.get(), BrokerType::kRefused, 0, machine.error().message);
    return EXIT_FAILURE;
  }

  std::thread broker_thread([&] { serve_broker(**machine, broker.get()); });
  std::thread console_thread;
  if (console) {
    console_thread = std::thread([&console, &machine = **machine] {
      console->serve([&machine](std::string_view typed) { machine.type(typed); });
    });
  }

  const End end = (*machine)->run();
  tail.finish();
  // The last words first: whoever hears of the end may stop reading.
  if (console) {
    console->stop(kLastWordsPatience);
    console_thread.join();
  }
  report_end(broker.get(), end, tail);
  // The thread waits in recv(): this ends it. What was sent can still be read.
  ::shutdown(broker.get(), SHUT_RD);
  broker_thread.join();
  return EXIT_SUCCESS;
}

}  // namespace thimble
