// See vm_run.h.
#include "pool/vm/vm_run.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "guest-init/protocol.h"
#include "pool/vm/memory_loss.h"
#include "pool/vm/vm_trace.h"

namespace thimble {

namespace {

// How long a console's reader may take for the guest's last words.
constexpr std::chrono::milliseconds kLastWordsTimeout{500};

// The announcement is the connection itself: an end whose other end is closed already. Made ahead,
// since the event loop may make no sockets.
Fd closed_stream() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return Fd();
  ::close(ends[1]);
  return Fd(ends[0]);
}

// Fills in what the machine calls back.
void join_callbacks(VmSpec& spec, int channel, ConsoleTail& tail, ConsoleStream* console,
                    bool& announced) {
  spec.machine.on_serial = [&tail, console](std::span<const uint8_t> bytes) {
    tail.feed(bytes);
    if (console != nullptr) console->write(bytes);
  };
  if (console != nullptr) spec.machine.on_typing_room = [console] { console->typing_room(); };
  spec.machine.on_notice = [channel](const std::string& line) {
    send_vm_message(channel, VmMessageType::kNotice, 0, line, -1, /*wait=*/false);
  };
  if (!spec.machine.vsock) return;
  // What the guest may connect to is the parent's to say, which a warm VM does not know yet.
  spec.machine.vsock->open_host_port = [channel](uint32_t port) {
    send_vm_message(channel, VmMessageType::kOpen, port, "");
  };
  spec.machine.guest_connect_ports = {protocol::kReadyPort};
  auto closed = std::make_shared<Fd>(closed_stream());
  spec.machine.on_guest_connect = [channel, &announced, closed](uint32_t port) {
    if (port != protocol::kReadyPort) return Fd();
    if (announced) return Fd();  // a guest that repeats itself is refused
    announced = true;
    send_vm_message(channel, VmMessageType::kReady, 0, "");
    return std::move(*closed);
  };
}

}  // namespace

Result<void> VmRun::prepare() {
  if (filter_ != nullptr) {
    spec_.machine.on_thread = [this](ThreadKind kind) { return filter_->confine(kind); };
  }
  if (spec_.console) {
    auto made = ConsoleStream::make(std::move(spec_.console));
    if (!made) return std::unexpected(made.error());
    console_ = std::move(*made);
  }
  join_callbacks(spec_, channel_, tail_, console_.get(), announced_);
  join_trace(spec_, summary_);
  return make_machine();
}

// The parent has verified a snapshot's memory; its state is checked again, by whoever is going to
// use it.
Result<void> VmRun::make_machine() {
  Result<std::unique_ptr<Machine>> machine = fail("a warm VM needs a snapshot");
  if (!spec_.snapshot) {
    if (!spec_.warm) machine = Machine::create(std::move(spec_.machine));
  } else {
    if (auto told = report_lost_memory(channel_); !told) return told;
    auto snapshot =
        Snapshot::open(std::move(spec_.snapshot->state), std::move(spec_.snapshot->memory),
                       Snapshot::MemoryCheck::kTrust);
    if (!snapshot) return std::unexpected(snapshot.error());
    spec_.machine.working_set = std::move(spec_.snapshot->working_set);
    if (spec_.warm) {
      template_to_claim_ = *snapshot;
      machine = Machine::prepare(std::move(spec_.machine), snapshot->get());
    } else {
      machine = Machine::restore(std::move(spec_.machine), **snapshot);
    }
  }
  if (!machine) return std::unexpected(machine.error());
  machine_ = std::move(*machine);
  return {};
}

std::optional<ReclaimPlan> VmRun::reclaim_plan() const {
  if (!spec_.reclaim_after || !spec_.snapshot) return std::nullopt;
  return ReclaimPlan(*spec_.reclaim_after);
}

void VmRun::start_messengers() {
  Machine* const machine = machine_.get();
  messengers_.start([this, machine] {
    may_serve_.wait();
    serve_vm_channel(*machine, channel_, reclaim_plan());
  });
  if (console_) {
    messengers_.start([this, machine] {
      console_->serve([machine](std::string_view typed) { return machine->type(typed); });
    });
  }
  messengers_.wait_until_confined();
}

// The event loop's thread of a warm VM, before its guest runs.
Result<void> VmRun::take_claim() {
  if (filter_ != nullptr) {
    if (auto done = filter_->confine(FilteredThread::kWarmVm); !done) return done;
  }
  warm_vm_ = wait_for_claim(*machine_, *template_to_claim_, channel_);
  if (!warm_vm_.claimed) return fail(warm_vm_.refused);
  report_console_ |= warm_vm_.report_console;
  template_to_claim_.reset();
  may_serve_.count_down();
  return {};
}

void VmRun::report_end(const End& end) const {
  for (const std::string& line : tail_.lines())
    send_vm_message(channel_, VmMessageType::kTail, 0, line);
  const uint32_t panicked = tail_.panic().empty() ? 0 : kVmChannelPanicked;
  send_vm_message(channel_, VmMessageType::kEnded, static_cast<uint32_t>(end.kind) | panicked,
                  explain_end(end, tail_));
}

void VmRun::finish(const End& end) {
  finish_trace(spec_, summary_, *machine_);
  tail_.finish();
  // The last words first: whoever hears of the end may stop reading.
  if (console_) {
    console_->stop(kLastWordsTimeout);
    messengers_.join_last();
  }
  report_end(end);
  // The thread waits in recv(): this ends it. What was sent can still be read.
  ::shutdown(channel_, SHUT_RD);
  messengers_.join_last();
}

int VmRun::run() {
  start_messengers();
  if (!spec_.warm) may_serve_.count_down();
  const End end = spec_.warm ? machine_->run([this] { return take_claim(); }) : machine_->run();
  if (spec_.warm && !warm_vm_.claimed) {
    if (!warm_vm_.refused.empty())
      send_vm_message(channel_, VmMessageType::kRefused, 0, warm_vm_.refused);
    ::_exit(EXIT_FAILURE);  // the messenger still waits for a claim
  }
  finish(end);
  const bool in_order = end.kind == End::Kind::kPowerOff || end.kind == End::Kind::kStopped;
  return in_order && tail_.panic().empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

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

}  // namespace thimble
