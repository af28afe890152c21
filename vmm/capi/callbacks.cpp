// The machine's callbacks, told to C. Each says for its duration whose it is, so that a call which
// would wait for itself is refused instead.
#include "vmm/capi/machine.h"

using namespace thimble;        // NOLINT: the C structures are in no namespace
using namespace thimble::capi;  // NOLINT

namespace {

thread_local const thimble_machine* called_back = nullptr;

// A machine may be made, or freed, in another one's callback.
class Call {
 public:
  explicit Call(const thimble_machine* machine) : before_(std::exchange(called_back, machine)) {}
  ~Call() { called_back = before_; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  const thimble_machine* before_;
};

Result<void> prepare_thread(thimble_machine* machine, Hook<thimble_thread_starts> hook,
                            ThreadKind kind) {
  if (hook.call != nullptr) {
    const Call call(machine);
    const int refused = hook.call(hook.user, static_cast<thimble_thread_kind>(kind));
    if (refused != 0) return fail("on_thread refused: " + std::to_string(refused));
  }
  if (kind == ThreadKind::kLoop) {
    const std::scoped_lock guard(machine->lock);
    machine->serves = true;
    machine->changed.notify_all();
  }
  return {};
}

void trace(const thimble_machine* machine, Hook<thimble_trace> hook, const TraceEvent& event) {
  const std::string device(event.device);
  const std::string reg(event.reg);
  const thimble_trace_event out{.size = sizeof(out),
                                .time_ns = event.time_ns,
                                .kind = static_cast<thimble_trace_kind>(event.kind),
                                .vcpu = event.vcpu,
                                .address = event.address,
                                .value = event.value,
                                .rip = event.rip,
                                .width = event.size,
                                .device = device.c_str(),
                                .reg = reg.c_str()};
  const Call call(machine);
  hook.call(hook.user, &out);
}

static_assert(static_cast<int>(ThreadKind::kVcpu) == THIMBLE_THREAD_VCPU);
static_assert(static_cast<int>(ThreadKind::kLoop) == THIMBLE_THREAD_LOOP);
static_assert(static_cast<int>(ThreadKind::kDiskWorker) == THIMBLE_THREAD_DISK_WORKER);
static_assert(static_cast<int>(TraceEvent::Kind::kPortIn) == THIMBLE_TRACE_PORT_IN);
static_assert(static_cast<int>(TraceEvent::Kind::kEoi) == THIMBLE_TRACE_EOI);
static_assert(static_cast<int>(TraceEvent::Kind::kNotify) == THIMBLE_TRACE_NOTIFY);
static_assert(static_cast<int>(TraceEvent::Kind::kMaskedInterrupt) ==
              THIMBLE_TRACE_MASKED_INTERRUPT);

}  // namespace

bool thimble_machine::calls_back() const { return called_back == this; }

void thimble_machine::join_callbacks(MachineOptions& out, const thimble_machine_options& options) {
  out.on_thread = [this, hook = options.on_thread](ThreadKind kind) {
    return prepare_thread(this, hook, kind);
  };
  if (const auto hook = options.on_serial; hook.call != nullptr) {
    out.on_serial = [this, hook](std::span<const uint8_t> bytes) {
      const Call call(this);
      hook.call(hook.user, bytes.data(), bytes.size());
    };
  }
  if (const auto hook = options.on_typing_room; hook.call != nullptr) {
    out.on_typing_room = [this, hook] {
      const Call call(this);
      hook.call(hook.user);
    };
  }
  if (const auto hook = options.on_notice; hook.call != nullptr) {
    out.on_notice = [this, hook](const std::string& line) {
      const Call call(this);
      hook.call(hook.user, line.c_str());
    };
  }
  if (const auto hook = options.on_trace; hook.call != nullptr) {
    out.on_trace = [this, hook](const TraceEvent& event) { trace(this, hook, event); };
  }
  for (const auto& [port, hook] : options.on_guest_connect) out.guest_connect_ports.push_back(port);
  out.on_guest_connect = [this, hooks = options.on_guest_connect](uint32_t port) {
    const auto& hook = hooks.at(port);
    const Call call(this);
    return Fd(hook.call(hook.user, port));
  };
}
