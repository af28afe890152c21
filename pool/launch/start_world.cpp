// See start_world.h.
#include "pool/launch/start_world.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "pool/launch/boot_turn.h"
#include "pool/launch/claim.h"
#include "pool/launch/clone_order.h"
#include "pool/launch/server_vm.h"
#include "pool/launch/template_make.h"
#include "pool/template/clone.h"

namespace thimble::launch {

namespace {

bool working_sets_wanted() {
  const char* value = std::getenv("THIMBLE_WORKING_SET");
  return value == nullptr || std::string_view(value) != "off";
}

// From the daemon's pool, or to be started by the caller.
Result<VmSource> obtain_clone(CloneOrder& order, const ServerConfig& config, bool replaceable,
                              const Say& say) {
  auto claimed = claim_from_daemon(order.id, config, replaceable, say);
  if (!claimed) return std::unexpected(claimed.error());
  if (*claimed) {
    // What the clone is told must be of the same template as its memory.
    if (template_version(order.id).value_or("gone") == order.version) return std::move(**claimed);
    return fail("template " + order.id.name + " was replaced or removed just now: run it again");
  }
  // The rest of what was opened is still needed when the working set comes.
  auto spec = clone_spec({order.opened.facts, std::move(order.opened.files), {}});
  if (!spec) return std::unexpected(spec.error());
  spec->reclaim_after = config.reclaim_after;
  spec->report_console = config.verbose;
  spec->require_confinement = config.require_confinement;
  return std::move(*spec);
}

Result<Start> start_of(CloneOrder clone, const ServerConfig& config, bool replaceable,
                       const Say& say) {
  Start start;
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto server = server_of(clone, say);
  if (!server) return std::unexpected(server.error());
  start.identity = std::move(*identity);
  start.server = std::move(*server);
  start.server.stdin_grace_ms = stdin_grace_ms(config);
  start.template_name = clone.id.name;
  start.image = image_of(clone);
  const auto order = std::make_shared<CloneOrder>(std::move(clone));
  if (!working_sets_wanted()) {
    order->opened.files.working_set.reset();
  } else if (!order->opened.files.working_set) {
    start.on_working_set = [order, say, verbose = config.verbose](std::span<const uint8_t> set) {
      auto kept = TemplateStore::keep_working_set(order->opened, set);
      if (!kept && verbose) say(kept.error().message);
    };
  }
  start.obtain = [order, config, replaceable, say] {
    return obtain_clone(*order, config, replaceable, say);
  };
  start.on_started = [] {};
  return start;
}

}  // namespace

Result<std::unique_ptr<HostStartWorld>> HostStartWorld::open(const ServerConfig& config,
                                                             StartCaller caller) {
  std::unique_ptr<HostStartWorld> world(new HostStartWorld(config, std::move(caller)));
  auto prepared = prepare_server(config, world->caller_.check_host, world->caller_.say);
  if (!prepared) return std::unexpected(prepared.error());
  world->prepared_ = std::move(*prepared);
  if (!world->not_found().empty()) return world;
  auto server = make_server(config, world->prepared_, world->caller_.say);
  if (!server) return std::unexpected(server.error());
  world->server_ = std::move(*server);
  world->templates_ =
      AutoTemplate::open(config, world->prepared_, world->server_, world->caller_.say);
  return world;
}

Result<std::optional<StartWorld::Clone>> HostStartWorld::find_clone() {
  auto order = templates_->find();
  if (!order) return std::nullopt;
  if (config_.verbose) say("a clone of " + order->id.name);
  const bool is_best = order->opened.facts.point == templates_->best_point();
  auto start = start_of(std::move(*order), config_, /*replaceable=*/true, caller_.say);
  if (!start) return std::unexpected(start.error());
  return Clone{std::move(*start), is_best};
}

Result<StartSlot> HostStartWorld::take_turn(bool wants_clone) {
  const auto wanted = wants_clone ? templates_->names() : std::vector<std::string>();
  return take_boot_turn(wanted, config_.verbose, caller_.say);
}

Result<Start> HostStartWorld::make_boot() {
  auto vm = make_vm(config_, prepared_);
  if (!vm) return std::unexpected(vm.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto mounts = make_mounts(prepared_);
  if (!mounts) return std::unexpected(mounts.error());
  Start start;
  start.identity = std::move(*identity);
  start.identity.mounts = std::move(*mounts);
  start.server = server_;
  start.image = prepared_.image.erofs;
  const auto spec = std::make_shared<VmSpec>(std::move(*vm));
  start.obtain = [spec]() -> Result<VmSource> { return std::move(*spec); };
  return start;
}

void HostStartWorld::make_template(const std::string& refused, StartSlot turn) {
  templates_->make_in_background(caller_.words, refused, std::move(turn));
}

Result<Start> start_of_template(const ServerConfig& config, const StartCaller& caller) {
  if (auto host = caller.check_host(); !host) return std::unexpected(host.error());
  auto store = open_templates_with(config.from_template);
  if (!store) return std::unexpected(store.error());
  auto order = order_clone(*store, config.from_template);
  if (!order) return std::unexpected(order.error());
  return start_of(std::move(*order), config, /*replaceable=*/false, caller.say);
}

}  // namespace thimble::launch
