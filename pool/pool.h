// VMs that are nearly there before they are needed: for each template that is in use a few warm VMs
// (VmSpec::warm) wait, a claim takes one and lets it run, and another takes its place. What was
// claimed is never used again: it is killed when it is given back.
//
//              start                 claim                 give_back, its end
//   nothing ----------> preparing -> ready -> claimed ------------------------> dying -> nothing
//                          |           |                                          ^
//                          +-----------+------ failed, idle, template changed ----+
//
// One thread, that of the event loop; nothing waits. Claims for which no warm VM is ready wait
// until one is (they are first in the row for every new one), are refused with the reason when the
// template keeps failing, and at once when a limit is reached.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/base/file_fault.h"
#include "devices/event_loop.h"
#include "pool/backoff.h"
#include "pool/vm/vm_process.h"

namespace thimble {

struct PoolLimits {
  size_t max_vms = 512;                    // warm VMs and claimed VMs together
  size_t max_vms_of_template = 512;        // of one template
  uint64_t max_memory_bytes = UINT64_MAX;  // what the guests of all claimed VMs may use
  size_t max_waiting = 512;                // claims that wait for a warm VM
  size_t max_preparing = 16;               // warm VMs of one template that are made at once
  size_t min_warm = 1;                     // kept ready for each template in use …
  size_t max_warm = 4;                     // … and for one that is often claimed faster than that
  std::chrono::milliseconds idle{
      120'000};  // without a claim, and a template is not in use any more
  // Between a claim and the warm VM that takes its place, unless somebody waits for it: whoever
  // claimed needs the processor first.
  std::chrono::milliseconds refill_delay{200};
  std::chrono::milliseconds prepare_timeout{30'000};
  std::chrono::milliseconds probe_every{10'000};
  std::chrono::milliseconds probe_timeout{10'000};
  // A claimed VM that fails sooner than this speaks against its template.
  std::chrono::milliseconds early{5'000};
  std::chrono::milliseconds backoff_first{1'000};
  std::chrono::milliseconds backoff_max{60'000};
};

// A template, by its folder of templates and its name.
struct TemplateId {
  std::string store;
  std::string name;
  auto operator<=>(const TemplateId&) const = default;
};

// What the pool needs of the world.
struct PoolWorld {
  struct WarmVm {
    VmProcess vm;
    std::string version;
    uint64_t memory_bytes = 0;
  };
  using Clock = std::chrono::steady_clock;

  EventLoop* loop = nullptr;
  std::function<Clock::time_point()> now;
  // What distinguishes this template from another one of the same name; an error when there is
  // none, or when that cannot be told just now. Asked at every claim.
  std::function<FileResult<std::string>(const TemplateId&)> version_of;
  // Starts a VM process that will report kPrepared; `awaited`: by a claim, so that what only pays
  // when it is done beforehand is left out.
  std::function<Result<WarmVm>(const TemplateId&, bool awaited)> start_warm_vm;
  // A claimed VM has ended without having been given back; how: "signal 9 (Killed)".
  std::function<void(uint64_t vm, const std::string& how)> on_ended;
  std::function<void(const std::string& line)> log;
};

class Pool {
 public:
  using Clock = PoolWorld::Clock;

  struct Refusal {
    enum class Kind {
      kTemplate,  // there is none, or it keeps failing
      kLimit,     // a limit of the pool
    };
    Kind kind = Kind::kTemplate;
    std::string why;
  };
  struct Claimed {
    uint64_t vm = 0;    // for give_back()
    HandedOver handed;  // it runs; how_it_ended is left to the caller
  };
  using Answer = std::function<void(std::expected<Claimed, Refusal>)>;

  Pool(PoolWorld world, PoolLimits limits);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();  // every VM ends

  // The answer comes once, perhaps before this returns. The result names a claim that still waits,
  // for cancel().
  uint64_t claim(const TemplateId& id, bool report_console, Answer answer);
  // Whoever claimed does not want it any more; no answer comes.
  void cancel(uint64_t claim);

  // Discards a claimed VM. One that has ended meanwhile is none.
  void give_back(uint64_t vm);

  // Has so many warm VMs made for a template, and keeps it in use.
  Result<void> warm(const TemplateId& id, size_t warm_vms);

  struct VmStatus {
    uint64_t vm = 0;
    pid_t pid = -1;
    TemplateId of;
    const char* state = "";
    uint64_t memory_bytes = 0;
    std::chrono::milliseconds age{0};  // in this state
  };
  [[nodiscard]] std::vector<VmStatus> vms() const;
  struct TemplateStatus {
    TemplateId id;
    size_t preparing = 0;
    size_t ready = 0;
    size_t claimed = 0;
    size_t waiting = 0;
    uint64_t claims = 0;  // answered with a VM
    uint64_t misses = 0;  // of them, those that had to wait for a warm VM
    std::string failing;  // why, while it does
  };
  [[nodiscard]] std::vector<TemplateStatus> templates() const;
  // No VM, nobody waits, and no template in use.
  [[nodiscard]] bool idle() const { return vms_.empty() && templates_.empty(); }
  [[nodiscard]] const PoolLimits& limits() const { return limits_; }

 private:
  enum class State { kPreparing, kReady, kClaimed, kDying };

  struct Waiting {
    uint64_t id = 0;
    bool report_console = false;
    Answer answer;
  };
  struct Template {
    explicit Template(TemplateId id_in) : id(std::move(id_in)) {}
    TemplateId id;
    std::string version;
    size_t wanted = 0;  // warm VMs
    Clock::time_point last_use;
    std::deque<Waiting> waiting;
    std::optional<EventLoop::TimerId> refill;
    Backoff warm_vms;  // that were not prepared
    Backoff clones;    // that failed early
    uint64_t claims = 0;
    uint64_t misses = 0;
  };
  struct Vm {
    Vm(uint64_t id_in, Template& of_in, PoolWorld::WarmVm warm_vm)
        : id(id_in),
          of(&of_in),
          process(std::move(warm_vm.vm)),
          version(std::move(warm_vm.version)),
          memory_bytes(warm_vm.memory_bytes) {}
    uint64_t id;
    Template* of;
    VmProcess process;
    std::string version;
    uint64_t memory_bytes;
    State state = State::kPreparing;
    Clock::time_point since;  // in this state
    Fd pidfd;
    int channel = -1;  // watched
    std::string exposed;
    std::string failed;                       // why it is dying, for a warm VM
    std::optional<Clock::time_point> probed;  // and not answered
    Clock::time_point heard_of;
  };

  Template& template_of(const TemplateId& id);
  [[nodiscard]] size_t count(const Template* of, State state) const;
  [[nodiscard]] size_t in_use(const Template* of) const;  // all but the dying
  [[nodiscard]] uint64_t claimed_bytes() const;
  [[nodiscard]] std::optional<Refusal> refusal(Template& of);
  [[nodiscard]] std::optional<Refusal> room_for(const Template& of) const;

  // Starts what waiting claims need now, and later what is wanted besides.
  void tend(Template& of);
  void start_for_waiting(Template& of);
  void refill(Template& of);
  bool start_one(Template& of, bool awaited);
  [[nodiscard]] bool make_room(const Template& of);
  void serve_waiting(Template& of);
  void refuse_waiting(Template& of, const Refusal& why);
  void hand_out(Vm& vm, const Waiting& claim);
  bool adopt_version(Template& of, const FileResult<std::string>& version);

  void on_warm_vm_event(uint64_t id);
  void on_gone(uint64_t id);
  void warm_vm_failed(Vm& vm, const std::string& why);
  void claimed_ended(Vm& vm, int status);
  void discard(Vm& vm);
  void set_state(Vm& vm, State state);

  void arm_tick();
  void tick();
  void forgive_silence(Clock::time_point now);
  void tick_of(Vm& vm, Clock::time_point now);
  void forget_unused(Clock::time_point now);
  void log(const std::string& line) const;

  PoolWorld world_;
  PoolLimits limits_;
  std::map<TemplateId, std::unique_ptr<Template>> templates_;
  std::map<uint64_t, std::unique_ptr<Vm>> vms_;  // the youngest is last
  uint64_t next_id_ = 1;
  std::optional<EventLoop::TimerId> tick_;
  Clock::time_point tick_due_;
};

}  // namespace thimble
