// See start_plan.h.
#include "pool/launch/start_plan.h"

#include <utility>

namespace thimble::launch {

Result<VmProcess> start_vm(VmSource source) {
  if (auto* vm = std::get_if<VmProcess>(&source)) return std::move(*vm);
  return VmProcess::start(std::move(std::get<VmSpec>(source)));
}

Result<std::optional<Start>> StartPlan::next() {
  if (!std::exchange(looked_, true) && may_be_clone_) {
    if (auto start = clone(); !start || *start) return start;
  }
  if (!turn_) {
    auto turn = world_.take_turn(may_be_clone_);
    if (!turn) return std::unexpected(turn.error());
    turn_ = std::move(*turn);
    // Others that wait need not wait for a VM that nobody would hear of.
    if (turn_->waited() && world_.client_has_left()) return std::nullopt;
    // Made by those that went before. It takes its turn like a boot: there may be many such.
    if (may_be_clone_ && turn_->waited() && world_.has_template()) {
      if (auto start = clone(); !start || *start) return start;
    }
  }
  auto start = boot();
  if (!start) return std::unexpected(start.error());
  return std::move(*start);
}

void StartPlan::refused(std::string_view why) {
  world_.say("template " + last_ + ": " + std::string(why) + ": booting instead");
  refused_ = last_;
  // One that was refused is not waited for.
  may_be_clone_ = false;
}

Result<std::optional<Start>> StartPlan::clone() {
  auto found = world_.find_clone();
  if (!found) return std::unexpected(found.error());
  if (!*found) return std::nullopt;
  Start start = std::move((*found)->start);
  last_ = start.template_name;
  start.is_replaceable = true;
  start.on_started = [this, is_best = (*found)->is_best] {
    if (turn_) turn_->release();
    if (!is_best) world_.make_template({}, {});
  };
  return start;
}

Result<Start> StartPlan::boot() {
  auto start = world_.make_boot();
  if (!start) return start;
  start->on_started = [this] {
    if (uses_templates_) world_.make_template(refused_, std::move(*turn_));
    turn_->release();
  };
  return start;
}

}  // namespace thimble::launch
