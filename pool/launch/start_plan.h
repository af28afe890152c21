// In which order a server's start is tried, and what is left for later starts:
//
//   the clone that is there ──refused──┐
//   (none) ────────────────────────────┴──> a turn to boot ──> a clone that was made meanwhile
//                                             │                          │ refused
//                                             └──────────> boot <────────┘
//
// A clone is refused by a host that its template does not fit, or when its guest never says a word;
// nothing of the client's was read then. What a start is made of is the world's affair
// (start_world.h), so that this is tested without a machine.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "devices/result.h"
#include "pool/guest/guest_control.h"
#include "pool/start_slots.h"
#include "pool/vm/vm_process.h"

namespace thimble::launch {

// One that runs already, out of the pool; or what is to be started, by a thread that lives as long
// as the VM may.
using VmSource = std::variant<VmProcess, VmSpec>;
Result<VmProcess> start_vm(VmSource source);

// One way to start the server.
struct Start {
  GuestIdentity identity;
  ServerSpec server;
  std::string template_name;    // of the clone; empty: it boots
  bool is_replaceable = false;  // when it is refused, next() has another
  std::filesystem::path image;  // the root file system
  // May wait for the daemon. Once, from any thread.
  std::function<Result<VmSource>()> obtain;
  // To be called when the server runs.
  std::function<void()> on_started;
  // Is to hear the clone's working set; or nobody.
  std::function<void(std::span<const uint8_t>)> on_working_set;
};

class StartWorld {
 public:
  virtual ~StartWorld() = default;

  struct Clone {
    Start start;
    bool is_best = true;  // a better template can be made for later
  };
  // The clone to run; nothing when there is none to be had.
  virtual Result<std::optional<Clone>> find_clone() = 0;
  // Whether find_clone() has something to look at.
  virtual bool has_template() = 0;
  // Waits until others have booted, or, if clones are `wanted`, have made a template.
  virtual Result<StartSlot> take_turn(bool wants_clone) = 0;
  virtual Result<Start> make_boot() = 0;
  // In the background, in `turn` where other starts wait for it. One that was just `refused` by its
  // name is made anew.
  virtual void make_template(const std::string& refused, StartSlot turn) = 0;
  // Nobody would hear of the server any more.
  virtual bool client_has_left() = 0;
  virtual void say(const std::string& line) = 0;
};

// One thread at a time. The world, and this, outlive the starts.
class StartPlan {
 public:
  // `uses_templates`: the world has them for this server.
  StartPlan(StartWorld& world, bool uses_templates)
      : world_(world), may_be_clone_(uses_templates), uses_templates_(uses_templates) {}

  // The next way to start; nothing when the client has left meanwhile. May wait for minutes.
  Result<std::optional<Start>> next();

  // The last one was a clone that was refused.
  void refused(std::string_view why);

 private:
  Result<std::optional<Start>> clone();
  Result<Start> boot();

  StartWorld& world_;
  bool looked_ = false;
  bool may_be_clone_;
  const bool uses_templates_;
  std::optional<StartSlot> turn_;
  std::string last_;     // template of the last clone
  std::string refused_;  // template that this host does not take
};

}  // namespace thimble::launch
