// See vm_main.h. Threads: this one makes and runs the machine; one more receives from the broker;
// one more serves the console's stream where there is one.
#include "pool/vm/vm_main.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "guest-init/protocol.h"
#include "pool/vm/console_stream.h"
#include "pool/vm/memory_loss.h"
#include "pool/vm/thread_filters.h"
#include "vmm/jail/sanitized.h"

namespace thimble {

namespace {

// How long a console's reader may take for the guest's last words.
constexpr std::chrono::milliseconds kLastWordsPatience{500};

// The announcement is the connection itself: an end whose other end is closed already. Made ahead,
// since the event loop may make no sockets.
Fd closed_stream() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return Fd();
  ::close(ends[1]);
  return Fd(ends[0]);
}

// A machine that could not be saved goes on as if nothing had been.
void save(Machine& machine, int broker, int state, int memory, bool hold) {
  auto done = machine.pause();
  if (done) {
    done = machine.save(state, memory);
    if (!done || !hold) {
      // Fails only for a machine that has ended meanwhile, which is reported by itself.
      [[maybe_unused]] auto resumed = machine.resume();
    }
  }
  if (done) {
    send_broker(broker, BrokerType::kSaved, 0, "");
  } else {
    send_broker(broker, BrokerType::kUnsaved, 0, done.error().message);
  }
}

void record(const Machine& machine, int broker, int file) {
  if (auto pages = machine.record_working_set(file)) {
    send_broker(broker, BrokerType::kRecorded, static_cast<uint32_t>(*pages), "");
  } else {
    send_broker(broker, BrokerType::kUnrecorded, 0, pages.error().message);
  }
}

// Serves the broker until its other end is gone, which ends the machine.
void serve_broker(Machine& machine, int broker) {
  Fd state;
  for (;;) {
    auto received = receive_broker(broker, BrokerSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<BrokerMessage>(&received);
    if (message == nullptr) break;
    switch (message->type) {
      case BrokerType::kOpened:
        machine.opened(message->value, std::move(message->stream));
        break;
      case BrokerType::kState:
        state = std::move(message->stream);
        break;
      case BrokerType::kSave:
        save(machine, broker, state.get(), message->stream.get(), message->value == kBrokerHold);
        state.reset();
        break;
      case BrokerType::kResume: {
        [[maybe_unused]] auto resumed = machine.resume();
        break;
      }
      case BrokerType::kPing:
        send_broker(broker, BrokerType::kPong, message->value, "");
        break;
      case BrokerType::kRecord:
        record(machine, broker, message->stream.get());
        break;
      case BrokerType::kClaim:
        send_broker(broker, BrokerType::kNotice, 0, "a claim of a VM that runs was refused");
        break;
      default:
        machine.connect(message->value, std::move(message->stream));
    }
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
  if (spec.machine.vsock->listener) {
    spec.machine.vsock->open_host_port = [broker](uint32_t port) {
      send_broker(broker, BrokerType::kOpen, port, "");
    };
  }
  spec.machine.guest_connect_ports = {protocol::kReadyPort};
  auto closed = std::make_shared<Fd>(closed_stream());
  spec.machine.on_guest_connect = [broker, &announced, closed](uint32_t port) {
    if (port != protocol::kReadyPort) return Fd();
    if (announced) return Fd();  // a guest that repeats itself is refused
    announced = true;
    send_broker(broker, BrokerType::kReady, 0, "");
    return std::move(*closed);
  };
}

// False: the VM is not wanted with less than all layers.
bool accept_exposure(const VmSpec& spec, int broker, const Confinement& confinement) {
  if (!spec.require_confinement) {
    send_broker(broker, BrokerType::kExposed, 0, confinement.describe());
    return true;
  }
  send_broker(broker, BrokerType::kRefused, 0,
              "the host refuses to confine the VMM: " + confinement.describe());
  return false;
}

// The threads that receive from the parent, each confined before it serves.
class Messengers {
 public:
  explicit Messengers(const ThreadFilters* filter) : filter_(filter) {}

  void start(std::function<void()> serve) {
    auto confined = std::make_shared<std::promise<void>>();
    confined_.push_back(confined->get_future());
    threads_.emplace_back([filter = filter_, confined, serve = std::move(serve)] {
      // The same call on the same program just worked, or will be refused on the vCPUs too.
      const bool fine = filter == nullptr || filter->confine(FilteredThread::kMessenger);
      confined->set_value();
      if (fine) serve();
    });
  }

  void wait_until_confined() {
    for (std::future<void>& one : confined_) one.wait();
  }

  // The one that was started last.
  void join_last() {
    threads_.back().join();
    threads_.pop_back();
  }

 private:
  const ThreadFilters* filter_;
  std::vector<std::thread> threads_;
  std::vector<std::future<void>> confined_;
};

struct MadeMachine {
  std::unique_ptr<Machine> machine;
  std::shared_ptr<const Snapshot> template_of_shell;  // to be claimed
};

// Boots, or takes over a snapshot whose memory the parent has verified; its state is checked again,
// by whoever is going to use it. A shell stops before it takes it over.
Result<MadeMachine> make_machine(VmSpec& spec, int broker) {
  Result<std::unique_ptr<Machine>> machine = fail("a shell needs a snapshot");
  MadeMachine made;
  if (!spec.snapshot) {
    if (!spec.shell) machine = Machine::create(std::move(spec.machine));
  } else {
    if (auto told = report_lost_memory(broker); !told) return std::unexpected(told.error());
    auto snapshot = Snapshot::open(std::move(spec.snapshot->state),
                                   std::move(spec.snapshot->memory), Snapshot::MemoryCheck::kTrust);
    if (!snapshot) return std::unexpected(snapshot.error());
    spec.machine.working_set = std::move(spec.snapshot->working_set);
    if (spec.shell) {
      made.template_of_shell = *snapshot;
      machine = Machine::prepare(std::move(spec.machine), snapshot->get());
    } else {
      machine = Machine::restore(std::move(spec.machine), **snapshot);
    }
  }
  if (!machine) return std::unexpected(machine.error());
  made.machine = std::move(*machine);
  return made;
}

// A shell's wait, on the thread that is to be the event loop's. Messages that nobody should send
// now end it. True: it took over its template, and the guest may run.
struct ShellEnd {
  bool claimed = false;
  bool report_console = false;
  std::string refused;  // why not; empty when the parent is gone
};
ShellEnd wait_for_claim(Machine& machine, const Snapshot& snapshot, int broker) {
  ShellEnd end;
  send_broker(broker, BrokerType::kPrepared, 0, "");
  for (;;) {
    auto received = receive_broker(broker, BrokerSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<BrokerMessage>(&received);
    if (message == nullptr) return end;
    if (message->type == BrokerType::kPing) {
      send_broker(broker, BrokerType::kPong, message->value, "");
      continue;
    }
    if (message->type != BrokerType::kClaim) {
      end.refused = "a message for a guest came before the claim";
      return end;
    }
    end.report_console = (message->value & kBrokerReportConsole) != 0;
    auto done = machine.claim(snapshot);
    end.claimed = done.has_value();
    if (!done) end.refused = done.error().message;
    return end;
  }
}

// From several threads at once: one write for each line, so that lines stay whole.
void write_trace(int file, std::string_view line) {
  while (!line.empty()) {
    const ssize_t n = ::write(file, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a full disk or a closed pipe ends the trace, not the guest
    line.remove_prefix(static_cast<size_t>(n));
  }
}

// The process may not make a file larger than its limits allow, so lines end in time.
constexpr uint64_t kMaxTraceBytes = uint64_t{64} << 20;

void join_trace(VmSpec& spec, TraceSummary& summary) {
  if (!spec.trace) return;
  auto written = std::make_shared<std::atomic<uint64_t>>(0);
  spec.machine.on_trace = [&summary, written, file = spec.trace.get()](const TraceEvent& event) {
    summary.add(event);
    const std::string line = trace_line(event);
    const uint64_t before = written->fetch_add(line.size());
    if (before >= kMaxTraceBytes) return;
    write_trace(file, line);
    if (before + line.size() >= kMaxTraceBytes) {
      write_trace(file, "(64 MiB of lines: the rest is only counted)\n");
    }
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

// A machine with the threads around it, from its making to its end.
class VmRun {
 public:
  // `filter` may be null: the host has none.
  VmRun(VmSpec spec, int broker, const ThreadFilters* filter)
      : spec_(std::move(spec)),
        broker_(broker),
        filter_(filter),
        report_console_(spec_.report_console),
        tail_([this](const std::string& line) {
          if (!report_console_) return;
          send_broker(broker_, BrokerType::kConsole, 0, line, -1, /*wait=*/false);
        }),
        messengers_(filter) {}

  Result<void> prepare();
  // The exit status.
  int run();

 private:
  void start_messengers();
  Result<void> take_claim();
  void finish(const End& end);

  VmSpec spec_;
  int broker_;
  const ThreadFilters* filter_;
  bool report_console_;  // the event loop's thread alone looks and changes it
  ConsoleTail tail_;
  bool announced_ = false;
  std::unique_ptr<ConsoleStream> console_;
  TraceSummary summary_;
  MadeMachine made_;
  std::latch may_serve_{1};  // the broker is read by one thread at a time: a shell's first
  Messengers messengers_;
  ShellEnd shell_;
};

Result<void> VmRun::prepare() {
  if (filter_ != nullptr) {
    spec_.machine.on_thread = [this](ThreadKind kind) { return filter_->confine(kind); };
  }
  if (spec_.console) {
    auto made = ConsoleStream::make(std::move(spec_.console));
    if (!made) return std::unexpected(made.error());
    console_ = std::move(*made);
  }
  join_callbacks(spec_, broker_, tail_, console_.get(), announced_);
  join_trace(spec_, summary_);
  auto made = make_machine(spec_, broker_);
  if (!made) return std::unexpected(made.error());
  made_ = std::move(*made);
  return {};
}

void VmRun::start_messengers() {
  Machine* const machine = made_.machine.get();
  messengers_.start([this, machine] {
    may_serve_.wait();
    serve_broker(*machine, broker_);
  });
  if (console_) {
    messengers_.start([this, machine] {
      console_->serve([machine](std::string_view typed) { machine->type(typed); });
    });
  }
  messengers_.wait_until_confined();
}

// The event loop's thread of a shell, before its guest runs.
Result<void> VmRun::take_claim() {
  if (filter_ != nullptr) {
    if (auto done = filter_->confine(FilteredThread::kShell); !done) return done;
  }
  shell_ = wait_for_claim(*made_.machine, *made_.template_of_shell, broker_);
  if (!shell_.claimed) return fail(shell_.refused);
  report_console_ |= shell_.report_console;
  made_.template_of_shell.reset();
  may_serve_.count_down();
  return {};
}

void VmRun::finish(const End& end) {
  if (spec_.trace) write_trace(spec_.trace.get(), summary_.tables(made_.machine->kvm_statistics()));
  tail_.finish();
  // The last words first: whoever hears of the end may stop reading.
  if (console_) {
    console_->stop(kLastWordsPatience);
    messengers_.join_last();
  }
  report_end(broker_, end, tail_);
  // The thread waits in recv(): this ends it. What was sent can still be read.
  ::shutdown(broker_, SHUT_RD);
  messengers_.join_last();
}

int VmRun::run() {
  start_messengers();
  if (!spec_.shell) may_serve_.count_down();
  const End end =
      spec_.shell ? made_.machine->run([this] { return take_claim(); }) : made_.machine->run();
  if (spec_.shell && !shell_.claimed) {
    if (!shell_.refused.empty()) send_broker(broker_, BrokerType::kRefused, 0, shell_.refused);
    ::_exit(EXIT_FAILURE);  // the messenger still waits for a claim
  }
  finish(end);
  const bool in_order = end.kind == End::Kind::kPowerOff || end.kind == End::Kind::kStopped;
  return in_order && tail_.panic().empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

// What the C library takes by default is much for a process that exists a thousand times: a stack
// of 8 MiB, whose first touch the host may answer with a huge page of 2 MiB, and a heap of its own
// for each thread. Sanitizers need the large stacks.
void keep_memory_small() {
  constexpr size_t kStackBytes = 256UL * 1024;
  ::mallopt(M_ARENA_MAX, 1);
  pthread_attr_t attributes;
  if (kSanitized || ::pthread_attr_init(&attributes) != 0) return;
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
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

int run_vm_process(VmSpec spec, Fd broker, Confinement confinement) {
  ::prctl(PR_SET_NAME, "thimble-vmm");
  keep_memory_small();
  auto filters = ThreadFilters::build(broker.get(), spec.shell);
  if (!filters) confinement.refuse(Layer::kFilters, filters.error().message);
  if (!confinement.complete() && !accept_exposure(spec, broker.get(), confinement)) {
    return EXIT_FAILURE;
  }
  VmRun run(std::move(spec), broker.get(), filters ? &*filters : nullptr);
  if (auto done = run.prepare(); !done) {
    send_broker(broker.get(), BrokerType::kRefused, 0, done.error().message);
    return EXIT_FAILURE;
  }
  return run.run();
}

}  // namespace thimble
