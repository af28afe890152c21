// Machines of thimble.h: making, running, ending. inspect.cpp looks inside, snapshot.cpp clones.
#include "vmm/capi/machine.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <system_error>

#include "vmm/capi/answer.h"

using namespace thimble;        // NOLINT: the C functions are in no namespace
using namespace thimble::capi;  // NOLINT

namespace {

// Signals are for the embedder's own threads. Those of faults cannot wait.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
      sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// The caller is one who waits, from before there is a thread that could free the machine.
Result<void> start_thread(thimble_machine& machine) {
  try {
    ++machine.waiters;
    const SignalsBlocked blocked;
    machine.thread = std::thread([&machine] { machine.live(); });
    return {};
  } catch (const std::system_error& error) {
    const std::scoped_lock guard(machine.lock);
    --machine.waiters;
    machine.life = thimble_machine::Life::kFresh;
    return fail(ErrorKind::kShortage, std::string("start a thread: ") + error.what());
  }
}

// Waits for the end, and for those who wait for it too.
void wait_until_alone(thimble_machine& machine) {
  std::unique_lock guard(machine.lock);
  machine.changed.wait(guard, [&] {
    return machine.life != thimble_machine::Life::kRunning && machine.waiters == 0;
  });
}

constexpr thimble_end_kind c_kind(End::Kind kind) {
  return static_cast<thimble_end_kind>(static_cast<int>(kind) + 1);
}
static_assert(c_kind(End::Kind::kPowerOff) == THIMBLE_END_POWER_OFF);
static_assert(c_kind(End::Kind::kReset) == THIMBLE_END_RESET);
static_assert(c_kind(End::Kind::kTripleFault) == THIMBLE_END_TRIPLE_FAULT);
static_assert(c_kind(End::Kind::kStopped) == THIMBLE_END_STOPPED);
static_assert(c_kind(End::Kind::kInternalError) == THIMBLE_END_INTERNAL_ERROR);
static_assert(c_kind(End::Kind::kHostError) == THIMBLE_END_HOST_ERROR);

// In its own callback the machine cannot wait for its end.
bool abandon(thimble_machine& machine) {
  const std::scoped_lock guard(machine.lock);
  if (!machine.calls_back() || machine.life != thimble_machine::Life::kRunning) return false;
  machine.abandoned = true;
  return true;
}

}  // namespace

Result<std::unique_ptr<thimble_machine>> thimble_machine::create() {
  auto made = std::make_unique<thimble_machine>();
  made->ended = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made->ended) return fail_errno("make a descriptor for the machine's end");
  return made;
}

Result<void> thimble_machine::outside_callbacks() const {
  if (!calls_back()) return {};
  return fail(ErrorKind::kWrongState, "not from the machine's own callbacks");
}

Result<void> thimble_machine::begin() {
  if (auto done = outside_callbacks(); !done) return done;
  const std::scoped_lock guard(lock);
  if (life != Life::kFresh) {
    return fail(ErrorKind::kWrongState, "run the machine: it runs or has run already");
  }
  life = Life::kRunning;
  return {};
}

Result<void> thimble_machine::begin_wait() {
  const std::scoped_lock guard(lock);
  if (life == Life::kFresh) {
    return fail(ErrorKind::kWrongState, "wait for the machine: it was not run");
  }
  ++waiters;
  return {};
}

void thimble_machine::live() {
  End how = machine->run();
  bool last = false;
  {
    std::unique_lock guard(lock);
    end = std::move(how);
    life = Life::kEnded;
    constexpr uint64_t kOnce = 1;
    [[maybe_unused]] const ssize_t told = ::write(ended.get(), &kOnce, sizeof(kOnce));
    changed.notify_all();
    changed.wait(guard, [this] { return !abandoned || waiters == 0; });
    last = abandoned;
  }
  if (!last) return;
  if (thread.joinable()) thread.detach();
  delete this;
}

void thimble_machine::wait_for(bool (*there)(const thimble_machine&)) {
  std::unique_lock guard(lock);
  changed.wait(guard, [&] { return there(*this); });
  --waiters;
  changed.notify_all();
}

thimble_error_kind thimble::capi::make_machine(const thimble_machine_options* options,
                                               thimble_machine** machine, thimble_error** error,
                                               const Maker& make) noexcept {
  if (machine != nullptr) *machine = nullptr;
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = given(options, "options"); !done) return done;
    auto all = options->for_machine();
    if (!all) return std::unexpected(all.error());
    auto made = thimble_machine::create();
    if (!made) return std::unexpected(made.error());
    (*made)->has_vsock = all->vsock.has_value();
    (*made)->join_callbacks(*all, *options);
    auto engine = make(std::move(*all));
    if (!engine) return std::unexpected(engine.error());
    (*made)->machine = std::move(*engine);
    *machine = made->release();
    return {};
  });
}

thimble_error_kind thimble_machine_create(const thimble_machine_options* options,
                                          thimble_machine** machine,
                                          thimble_error** error) noexcept {
  return make_machine(options, machine, error, [](MachineOptions all) {
    if (all.kernel.empty()) {
      return Result<std::unique_ptr<Machine>>(
          fail(ErrorKind::kInvalid, "no kernel: thimble_machine_options_set_kernel() names one"));
    }
    return Machine::create(std::move(all));
  });
}

void thimble_machine_free(thimble_machine* machine) noexcept {
  if (machine == nullptr) return;
  machine->machine->stop();
  if (abandon(*machine)) return;
  wait_until_alone(*machine);
  if (machine->thread.joinable()) machine->thread.join();
  delete machine;
}

thimble_error_kind thimble_machine_run(thimble_machine* machine, thimble_error** error) noexcept {
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = machine->begin(); !done) return done;
    machine->live();
    return {};
  });
}

thimble_error_kind thimble_machine_start(thimble_machine* machine, thimble_error** error) noexcept {
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = machine->begin(); !done) return done;
    if (auto done = start_thread(*machine); !done) return done;
    machine->wait_for([](const thimble_machine& all) {
      return all.serves || all.life == thimble_machine::Life::kEnded;
    });
    return {};
  });
}

thimble_error_kind thimble_machine_wait(thimble_machine* machine, thimble_error** error) noexcept {
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = machine->outside_callbacks(); !done) return done;
    if (auto done = machine->begin_wait(); !done) return done;
    machine->wait_for(
        [](const thimble_machine& all) { return all.life == thimble_machine::Life::kEnded; });
    return {};
  });
}

int thimble_machine_ended_fd(const thimble_machine* machine) noexcept {
  return machine == nullptr ? -1 : machine->ended.get();
}

thimble_end_kind thimble_machine_end_kind(const thimble_machine* machine) noexcept {
  if (machine == nullptr) return THIMBLE_END_NONE;
  const std::scoped_lock guard(machine->lock);
  return machine->end ? c_kind(machine->end->kind) : THIMBLE_END_NONE;
}

const char* thimble_machine_end_message(const thimble_machine* machine) noexcept {
  if (machine == nullptr) return "";
  const std::scoped_lock guard(machine->lock);
  return machine->end ? machine->end->message.c_str() : "";
}

thimble_error_kind thimble_machine_pause(thimble_machine* machine, thimble_error** error) noexcept {
  return answer_outside(machine, error, [&] { return machine->machine->pause(); });
}

thimble_error_kind thimble_machine_resume(thimble_machine* machine,
                                          thimble_error** error) noexcept {
  return answer_outside(machine, error, [&] { return machine->machine->resume(); });
}

void thimble_machine_stop(thimble_machine* machine) noexcept {
  if (machine != nullptr) machine->machine->stop();
}

size_t thimble_machine_type(thimble_machine* machine, const void* bytes, size_t size) noexcept {
  if (machine == nullptr || bytes == nullptr) return 0;
  return machine->machine->type({static_cast<const char*>(bytes), size});
}

thimble_error_kind thimble_machine_connect(thimble_machine* machine, uint32_t port, int* stream,
                                           thimble_error** error) noexcept {
  if (stream != nullptr) *stream = -1;
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = given(stream, "stream"); !done) return done;
    if (!machine->has_vsock) return fail(ErrorKind::kInvalid, "connect: the machine has no vsock");
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      return fail_errno("make a stream to the guest");
    }
    Fd ours(ends[0]);
    machine->machine->connect(port, Fd(ends[1]));
    *stream = ours.release();
    return {};
  });
}
