// See pool.h. Claims and warm VMs; what time brings is in pool_time.cpp.
#include "pool/pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "devices/text.h"

namespace thimble {

namespace {

using std::chrono::milliseconds;

constexpr const char* kStateNames[] = {"preparing", "ready", "claimed", "dying"};

// A crash is a process's own doing; a signal to kill or end it is not.
bool was_ended_by_somebody(int status) {
  return WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
}

unsigned long long mib(uint64_t bytes) { return static_cast<unsigned long long>(bytes >> 20); }

// The loop may hear of it later than of a claim.
bool has_ended(const Fd& pidfd) {
  pollfd ended{pidfd.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 1;
}

}  // namespace

Pool::Pool(PoolWorld world, PoolLimits limits) : world_(std::move(world)), limits_(limits) {}

// All are killed before the first is waited for.
Pool::~Pool() {
  if (tick_) world_.loop->cancel(*tick_);
  for (const auto& [id, of] : templates_) {
    if (of->refill) world_.loop->cancel(*of->refill);
  }
  for (const auto& [id, vm] : vms_) {
    if (vm->channel >= 0) world_.loop->unwatch(vm->channel);
    world_.loop->unwatch(vm->pidfd.get());
    vm->process.start_killing();
  }
}

void Pool::log(const std::string& line) const {
  if (world_.log) world_.log(line);
}

// ---- counting ----------------------------------------------------------------------------------

size_t Pool::count(const Template* of, State state) const {
  return static_cast<size_t>(std::ranges::count_if(vms_, [&](const auto& entry) {
    return (of == nullptr || entry.second->of == of) && entry.second->state == state;
  }));
}

size_t Pool::in_use(const Template* of) const {
  return static_cast<size_t>(std::ranges::count_if(vms_, [&](const auto& entry) {
    return (of == nullptr || entry.second->of == of) && entry.second->state != State::kDying;
  }));
}

uint64_t Pool::claimed_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, vm] : vms_) {
    if (vm->state == State::kClaimed) bytes += vm->memory_bytes;
  }
  return bytes;
}

std::vector<Pool::VmStatus> Pool::vms() const {
  std::vector<VmStatus> all;
  all.reserve(vms_.size());
  const auto now = world_.now();
  for (const auto& [id, vm] : vms_) {
    all.push_back({.vm = id,
                   .pid = vm->process.pid(),
                   .of = vm->of->id,
                   .state = kStateNames[static_cast<size_t>(vm->state)],
                   .memory_bytes = vm->memory_bytes,
                   .age = std::chrono::duration_cast<milliseconds>(now - vm->since)});
  }
  return all;
}

std::vector<Pool::TemplateStatus> Pool::templates() const {
  std::vector<TemplateStatus> all;
  for (const auto& [id, of] : templates_) {
    TemplateStatus status{.id = id,
                          .preparing = count(of.get(), State::kPreparing),
                          .ready = count(of.get(), State::kReady),
                          .claimed = count(of.get(), State::kClaimed),
                          .waiting = of->waiting.size(),
                          .claims = of->claims,
                          .misses = of->misses,
                          .failing = {}};
    for (const Backoff* backoff : {&of->warm_vms, &of->clones}) {
      if (backoff->failures() > 0) status.failing = backoff->why();
    }
    all.push_back(std::move(status));
  }
  return all;
}

// ---- claims
// --------------------------------------------------------------------------------------

Pool::Template& Pool::template_of(const TemplateId& id) {
  auto& of = templates_[id];
  if (!of) of = std::make_unique<Template>(id);
  of->last_use = world_.now();
  of->wanted = std::max(of->wanted, limits_.min_warm);
  arm_tick();
  return *of;
}

uint64_t Pool::claim(const TemplateId& id, bool report_console, Answer answer) {
  auto version = world_.version_of(id);
  const auto known = templates_.find(id);
  if (!version && known == templates_.end()) {
    answer(std::unexpected(Refusal{Refusal::Kind::kTemplate, version.error().message}));
    return 0;
  }
  Template& of = template_of(id);
  if (!adopt_version(of, version)) {
    of.last_use = Clock::time_point{};  // forgotten soon
    answer(std::unexpected(Refusal{Refusal::Kind::kTemplate, version.error().message}));
    return 0;
  }
  if (auto no = refusal(of)) {
    log("refused: " + no->why);
    answer(std::unexpected(std::move(*no)));
    return 0;
  }
  const uint64_t claim = next_id_++;
  if (count(&of, State::kReady) == 0) {
    ++of.misses;
    // The very first has no warm VM in any case; later ones came faster than warm VMs did.
    if (of.misses > 1)
      of.wanted = std::min(of.wanted + 1, std::max(limits_.min_warm, limits_.max_warm));
  }
  of.waiting.push_back({claim, report_console, std::move(answer)});
  serve_waiting(of);
  tend(of);
  return claim;
}

void Pool::cancel(uint64_t claim) {
  for (const auto& [id, of] : templates_) {
    std::erase_if(of->waiting, [claim](const Waiting& one) { return one.id == claim; });
  }
}

// False when the template is gone. Warm VMs of an earlier one of the same name are of no use. What
// cannot be told just now is as it was.
bool Pool::adopt_version(Template& of, const FileResult<std::string>& version) {
  if (version && *version == of.version) return true;
  const bool untold = !version && version.error().kind == FileFault::Kind::kPassing;
  if (untold && !of.version.empty()) return true;
  if (!of.version.empty()) log("template " + of.id.name + " was changed or removed");
  of.version = version.value_or("");
  of.warm_vms.succeed();
  of.clones.succeed();
  for (const auto& [id, vm] : vms_) {
    const bool warm = vm->state == State::kPreparing || vm->state == State::kReady;
    if (vm->of == &of && warm && vm->version != of.version) discard(*vm);
  }
  return version.has_value();
}

std::optional<Pool::Refusal> Pool::refusal(Template& of) {
  const auto now = world_.now();
  for (const Backoff* backoff : {&of.warm_vms, &of.clones}) {
    if (!backoff->holds(now)) continue;
    const auto left = std::chrono::ceil<std::chrono::seconds>(backoff->until() - now);
    return Refusal{
        Refusal::Kind::kTemplate,
        text("template %s failed %u times in a row: %s (tried again in %lld s)", of.id.name.c_str(),
             backoff->failures(), backoff->why().c_str(), static_cast<long long>(left.count()))};
  }
  if (of.waiting.size() >= limits_.max_waiting) {
    return Refusal{Refusal::Kind::kLimit, text("%zu claims wait for a VM of template %s already",
                                               of.waiting.size(), of.id.name.c_str())};
  }
  if (count(&of, State::kReady) > of.waiting.size()) return std::nullopt;
  return room_for(of);
}

// For one more VM: claims that wait have been promised theirs.
std::optional<Pool::Refusal> Pool::room_for(const Template& of) const {
  size_t promised = 0;
  size_t spare = 0;  // warm VMs of other templates, which can go
  for (const auto& [id, other] : templates_) {
    const size_t warm_vms =
        count(other.get(), State::kReady) + count(other.get(), State::kPreparing);
    promised += other->waiting.size() - std::min(other->waiting.size(), warm_vms);
    if (other.get() != &of) spare += warm_vms - std::min(other->waiting.size(), warm_vms);
  }
  const size_t of_template = count(&of, State::kClaimed) + of.waiting.size();
  if (of_template >= limits_.max_vms_of_template) {
    return Refusal{Refusal::Kind::kLimit,
                   text("%zu VMs of template %s run already: the most that the pool allows",
                        of_template, of.id.name.c_str())};
  }
  const size_t warm_vms = count(&of, State::kReady) + count(&of, State::kPreparing);
  if (warm_vms > of.waiting.size()) return std::nullopt;  // one is on its way
  if (in_use(nullptr) + promised < limits_.max_vms + spare) return std::nullopt;
  return Refusal{Refusal::Kind::kLimit,
                 text("%zu VMs run already: the most that the pool allows (thimble daemon "
                      "--max-vms)",
                      count(nullptr, State::kClaimed))};
}

// ---- warm VMs
// --------------------------------------------------------------------------------------

void Pool::tend(Template& of) {
  start_for_waiting(of);
  const size_t warm_vms = count(&of, State::kReady) + count(&of, State::kPreparing);
  if (of.refill || warm_vms >= of.wanted + of.waiting.size()) return;
  const auto now = world_.now();
  auto delay = std::chrono::nanoseconds(limits_.refill_delay);
  for (const Backoff* backoff : {&of.warm_vms, &of.clones}) {
    if (backoff->holds(now))
      delay = std::max<std::chrono::nanoseconds>(delay, backoff->until() - now);
  }
  of.refill = world_.loop->after(delay, [this, &of] {
    of.refill.reset();
    refill(of);
  });
}

void Pool::start_for_waiting(Template& of) {
  for (;;) {
    const size_t preparing = count(&of, State::kPreparing);
    const bool enough = of.waiting.size() <= count(&of, State::kReady) + preparing;
    if (enough || preparing >= limits_.max_preparing) return;
    if (!make_room(of)) {
      return refuse_waiting(of, {Refusal::Kind::kLimit, "the pool has no room for another VM"});
    }
    if (!start_one(of, true)) return;
  }
}

// One at a time, so that claims come in between.
void Pool::refill(Template& of) {
  const size_t warm_vms = count(&of, State::kReady) + count(&of, State::kPreparing);
  const size_t claimed = count(&of, State::kClaimed);
  const bool room =
      in_use(nullptr) < limits_.max_vms && claimed + warm_vms < limits_.max_vms_of_template;
  if (of.version.empty() || warm_vms >= of.wanted || !room) return;
  if (start_one(of, false)) tend(of);
}

// A warm VM that nobody waits for goes when another template needs its place.
bool Pool::make_room(const Template& of) {
  if (in_use(nullptr) < limits_.max_vms) return true;
  for (const auto& [id, vm] : vms_) {
    const bool warm = vm->state == State::kReady || vm->state == State::kPreparing;
    if (!warm || vm->of == &of || !vm->of->waiting.empty()) continue;
    discard(*vm);
    return true;
  }
  return false;
}

bool Pool::start_one(Template& of, bool awaited) {
  auto warm_vm = world_.start_warm_vm(of.id, awaited);
  Result<Fd> pidfd = fail("");
  if (warm_vm) pidfd = warm_vm->vm.open_pidfd();
  if (!warm_vm || !pidfd) {
    const std::string& why = warm_vm ? pidfd.error().message : warm_vm.error().message;
    of.warm_vms.fail(world_.now(), why, limits_.backoff_first, limits_.backoff_max);
    log("no warm VM of template " + of.id.name + ": " + why);
    refuse_waiting(of, {Refusal::Kind::kTemplate, why});
    return false;
  }
  const uint64_t id = next_id_++;
  auto& vm = vms_[id];
  vm = std::make_unique<Vm>(id, of, std::move(*warm_vm));
  vm->pidfd = std::move(*pidfd);
  vm->channel = vm->process.poll_fd();
  set_state(*vm, State::kPreparing);
  world_.loop->watch(vm->channel, EPOLLIN, [this, id](uint32_t) { on_warm_vm_event(id); });
  world_.loop->watch(vm->pidfd.get(), EPOLLIN, [this, id](uint32_t) { on_gone(id); });
  // The template was replaced since it was last looked at: not every warm VM fits any more.
  if (vm->version != of.version) adopt_version(of, world_.version_of(of.id));
  return true;
}

void Pool::set_state(Vm& vm, State state) {
  vm.state = state;
  vm.since = world_.now();
  vm.heard_of = vm.since;
}

// Youngest first: those that wait longest are let go when fewer are needed.
void Pool::serve_waiting(Template& of) {
  for (auto at = vms_.rbegin(); at != vms_.rend() && !of.waiting.empty(); ++at) {
    Vm& vm = *at->second;
    if (vm.of != &of || vm.state != State::kReady || vm.version != of.version) continue;
    if (has_ended(vm.pidfd)) continue;  // on_gone() is about to see to it, and to who waits
    if (claimed_bytes() + vm.memory_bytes > limits_.max_memory_bytes) {
      return refuse_waiting(
          of, {Refusal::Kind::kLimit,
               text("the VMs that run may use %llu MiB, and %llu more would exceed what the pool "
                    "allows (thimble daemon --max-memory)",
                    mib(claimed_bytes()), mib(vm.memory_bytes))});
    }
    const Waiting claim = std::move(of.waiting.front());
    of.waiting.pop_front();
    hand_out(vm, claim);
  }
}

void Pool::refuse_waiting(Template& of, const Refusal& why) {
  for (const Waiting& claim : std::exchange(of.waiting, {})) claim.answer(std::unexpected(why));
}

void Pool::hand_out(Vm& vm, const Waiting& claim) {
  Claimed claimed{.vm = vm.id, .handed = {}};
  claimed.handed.pid = vm.process.pid();
  claimed.handed.exposed = vm.exposed;
  claimed.handed.pidfd = Fd(::dup(vm.pidfd.get()));
  // A warm VM that has just died: its end is noticed by whoever has the VM channel, and by us.
  [[maybe_unused]] auto told = vm.process.claim(claim.report_console);
  world_.loop->unwatch(std::exchange(vm.channel, -1));
  claimed.handed.channel = vm.process.hand_over();
  set_state(vm, State::kClaimed);
  ++vm.of->claims;
  log(text("VM %llu (pid %d) of template %s claimed", static_cast<unsigned long long>(vm.id),
           static_cast<int>(claimed.handed.pid), vm.of->id.name.c_str()));
  claim.answer(std::move(claimed));
}

void Pool::give_back(uint64_t vm) {
  const auto found = vms_.find(vm);
  if (found == vms_.end() || found->second->state != State::kClaimed) return;
  // Its client was the first to hear of its end, which is one of its own all the same.
  if (has_ended(found->second->pidfd)) return on_gone(vm);
  found->second->of->clones.succeed();
  discard(*found->second);
}

Result<void> Pool::warm(const TemplateId& id, size_t warm_vms) {
  const auto version = world_.version_of(id);
  if (!version) return std::unexpected(version.error());
  Template& of = template_of(id);
  adopt_version(of, version);
  of.wanted = std::clamp(warm_vms, limits_.min_warm, limits_.max_vms);
  if (!of.refill) refill(of);
  return {};
}

// ---- what becomes of VMs
// -------------------------------------------------------------------------

void Pool::on_warm_vm_event(uint64_t id) {
  const auto found = vms_.find(id);
  if (found == vms_.end()) return;
  Vm& vm = *found->second;
  while (vm.state == State::kPreparing || vm.state == State::kReady) {
    const auto event = vm.process.next_event();
    if (!event) return;
    vm.heard_of = world_.now();
    switch (event->kind) {
      case VmEvent::Kind::kExposed:
        vm.exposed = event->text;
        break;
      case VmEvent::Kind::kPrepared:
        vm.of->warm_vms.succeed();
        set_state(vm, State::kReady);
        serve_waiting(*vm.of);
        tend(*vm.of);
        break;
      case VmEvent::Kind::kPong:
        vm.probed.reset();
        break;
      case VmEvent::Kind::kRefused:
      case VmEvent::Kind::kEnded:
      case VmEvent::Kind::kLost:
        return warm_vm_failed(vm, event->text);
      default:
        break;
    }
  }
}

// The first failure may have been chance (somebody killed it): claims wait for another one.
void Pool::warm_vm_failed(Vm& vm, const std::string& why) {
  Template& of = *vm.of;
  log(text("a warm VM of template %s (pid %d) failed: %s", of.id.name.c_str(),
           static_cast<int>(vm.process.pid()), why.c_str()));
  // Several that fail at once are one failure.
  const bool known = of.warm_vms.holds(world_.now());
  if (!known) of.warm_vms.fail(world_.now(), why, limits_.backoff_first, limits_.backoff_max);
  discard(vm);
  if (of.warm_vms.holds(world_.now())) {
    refuse_waiting(of, {Refusal::Kind::kTemplate,
                        "template " + of.id.name + " does not come up: " + of.warm_vms.why()});
  }
}

void Pool::discard(Vm& vm) {
  if (vm.channel >= 0) world_.loop->unwatch(std::exchange(vm.channel, -1));
  if (vm.state != State::kDying) set_state(vm, State::kDying);
  vm.process.start_killing();
  world_.loop->post([this, of = vm.of->id] {
    if (const auto found = templates_.find(of); found != templates_.end()) tend(*found->second);
  });
}

// Its process has ended. A warm VM's last message may still be unread.
void Pool::on_gone(uint64_t id) {
  on_warm_vm_event(id);
  const auto found = vms_.find(id);
  if (found == vms_.end()) return;
  Vm& vm = *found->second;
  const auto status = vm.process.reap_if_gone();
  if (!status) return;
  if (vm.state == State::kClaimed) claimed_ended(vm, *status);
  if (vm.state == State::kPreparing || vm.state == State::kReady) {
    warm_vm_failed(vm, describe_wait_status(*status));
  }
  if (vm.channel >= 0) world_.loop->unwatch(vm.channel);
  world_.loop->unwatch(vm.pidfd.get());
  Template& of = *vm.of;
  vms_.erase(id);
  tend(of);
}

void Pool::claimed_ended(Vm& vm, int status) {
  Template& of = *vm.of;
  const std::string how = describe_wait_status(status);
  log(text("VM %llu of template %s ended: %s", static_cast<unsigned long long>(vm.id),
           of.id.name.c_str(), how.c_str()));
  const bool early = world_.now() - vm.since < limits_.early;
  if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
    of.clones.succeed();
  } else if (early && !was_ended_by_somebody(status)) {
    of.clones.fail(world_.now(), "its clones fail right after their start (" + how + ")",
                   limits_.backoff_first, limits_.backoff_max);
  }
  set_state(vm, State::kDying);
  if (world_.on_ended) world_.on_ended(vm.id, how);
}

}  // namespace thimble
