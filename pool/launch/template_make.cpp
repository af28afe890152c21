// See template_make.h.
#include "pool/launch/template_make.h"

#include <poll.h>
#include <cstdlib>
#include <ctime>

#include "devices/text.h"
#include "pool/image/reseed.h"
#include "pool/launch/guest_files.h"
#include "pool/launch/server_vm.h"

namespace thimble::launch {

namespace {

using Point = FreezeRequest::Point;

// Saves a frozen guest and waits for the answer.
Result<void> save(VmProcess& vm, SnapshotFiles files) {
  if (auto sent = vm.save(std::move(files), /*hold=*/true); !sent) return sent;
  for (;;) {
    pollfd entry{vm.poll_fd(), POLLIN, 0};
    if (::poll(&entry, 1, -1) < 0 && errno != EINTR) return fail_errno("wait for the VMM process");
    while (const auto event = vm.next_event()) {
      switch (event->kind) {
        case VmEvent::Kind::kSaved:
          return {};
        case VmEvent::Kind::kUnsaved:
        case VmEvent::Kind::kEnded:
        case VmEvent::Kind::kRefused:
        case VmEvent::Kind::kLost:
          return fail(event->text);
        default:
          break;
      }
    }
  }
}

// "K" of --env K means: as it is where the clone is started.
bool is_inherited(const std::string& variable) { return variable.find('=') == std::string::npos; }

Result<TemplateFacts> describe(const FreezeRequest& request, const TemplateOrder& order,
                               const ServerConfig& config, const image::Prepared& prepared,
                               const Say& say) {
  TemplateFacts facts;
  facts.point = request.point;
  facts.note = order.note;
  facts.memory_bytes = config.memory_bytes;
  facts.vcpus = config.vcpus;
  facts.disks.push_back({prepared.image.erofs.string(), "root"});
  for (size_t i = 0; i < prepared.mounts.size(); ++i) {
    facts.disks.push_back({prepared.mounts[i].erofs.string(), text("mount%zu", i)});
  }
  facts.created = static_cast<uint64_t>(::time(nullptr));
  facts.command = config.command.empty() ? request.server.arguments : config.command;
  facts.server = request.server;
  std::vector<std::string> fixed;
  if (request.point == Point::kReady) {
    // It runs already. What is started beside it (exec) has its world, but for what --env gave it,
    // which may be secret: the file keeps no more of that than it needs.
    facts.server.arguments.clear();
  } else {
    for (const std::string& variable : config.env) {
      (is_inherited(variable) ? facts.inherited : fixed).push_back(variable);
    }
  }
  auto environment = make_environment(fixed, base_environment(config, prepared), say);
  if (!environment) return std::unexpected(environment.error());
  facts.server.environment = std::move(*environment);
  return facts;
}

Result<FreezeRequest> make_request(const TemplateOrder& order, const ServerConfig& config,
                                   const image::Prepared& prepared,
                                   const MakingListener& listener) {
  FreezeRequest request;
  request.point = order.point;
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto mounts = make_mounts(prepared);
  if (!mounts) return std::unexpected(mounts.error());
  auto server = make_server(config, prepared, listener.say);
  if (!server) return std::unexpected(server.error());
  request.identity = std::move(*identity);
  request.identity.mounts = std::move(*mounts);
  request.server = std::move(*server);
  if (order.point == Point::kReady) image::compile_ahead(request.server.environment);
  request.ready_limit = order.ready_limit;
  request.on_stderr = listener.on_stderr;
  if (config.verbose) request.on_notice = listener.on_notice;
  return request;
}

std::string refusal_of(const std::string& process) {
  return process +
         " is neither our node nor our python: its random numbers would be the same in all clones "
         "of "
         "a ready server";
}

}  // namespace

PointChoice choose_point(const ServerConfig& config, const image::Prepared& prepared) {
  if (!prepared.image.env.contains(image::kReseedsVariable)) {
    return {Point::kBeforeExec,
            "frozen before CMD starts, since its random numbers could not be reseeded in clones "
            "(--freeze ready)"};
  }
  if (!config.env.empty()) {
    return {Point::kBeforeExec,
            "frozen before CMD starts, since --env may give it secrets (--freeze ready)"};
  }
  return {};
}

Result<Point> parse_point(const std::string& name) {
  if (name == "ready") return Point::kReady;
  if (name == "before-exec") return Point::kBeforeExec;
  return fail("--freeze " + name + ": write ready or before-exec");
}

const char* point_name(Point point) { return point == Point::kReady ? "ready" : "before-exec"; }

Result<TemplateMade> make_template(const TemplateStore& store, const TemplateOrder& order,
                                   const ServerConfig& config, const image::Prepared& prepared,
                                   const MakingListener& listener) {
  auto staging = store.stage(order.name);
  if (!staging) return std::unexpected(staging.error());
  auto request = make_request(order, config, prepared, listener);
  if (!request) return std::unexpected(request.error());
  auto spec = make_vm(config, prepared);
  if (!spec) return std::unexpected(spec.error());
  auto vm = VmProcess::start(std::move(*spec));
  if (!vm) return std::unexpected(vm.error());
  auto frozen = freeze_guest(*vm, *request);
  if (listener.on_end_of_stderr) listener.on_end_of_stderr();
  if (!frozen) return std::unexpected(frozen.error());
  if (!frozen->unreseeded.empty()) {
    std::string refusal = refusal_of(frozen->unreseeded);
    if (!order.accepts_unreseeded) return TemplateMade{std::move(refusal)};
    listener.say("--freeze ready: " + refusal);
  }
  auto files = staging->files();
  if (!files) return std::unexpected(files.error());
  auto saved = save(*vm, std::move(*files));
  vm->kill();
  if (!saved) return fail_in("save the template", saved);
  auto facts = describe(*request, order, config, prepared, listener.say);
  if (!facts) return std::unexpected(facts.error());
  if (auto done = staging->publish(std::move(*facts)); !done) return std::unexpected(done.error());
  return TemplateMade{};
}

Result<TemplateStore> open_templates(TemplatePlace place) {
  if (place == TemplatePlace::kMemory) {
    return TemplateStore::open(text("/dev/shm/thimble-templates-%u", ::geteuid()));
  }
  const char* named = std::getenv("THIMBLE_TEMPLATES");
  if (named != nullptr && *named == '/') return TemplateStore::open(named);
  const auto cache = cache_directory();
  if (cache.empty()) return fail("find a place for templates: set HOME or THIMBLE_CACHE");
  return TemplateStore::open(cache / "templates");
}

Result<TemplateStore> open_templates_with(const std::string& name) {
  auto memory = open_templates(TemplatePlace::kMemory);
  if (memory && memory->has(name)) return memory;
  return open_templates(TemplatePlace::kDisk);
}

}  // namespace thimble::launch
