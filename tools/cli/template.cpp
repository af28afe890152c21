// `thimble template`: servers frozen once they are up, to be cloned by `thimble run --template`.
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "pool/freeze.h"
#include "tools/cli/commands.h"
#include "tools/cli/run_options.h"
#include "tools/cli/say.h"
#include "tools/cli/server_vm.h"
#include "tools/cli/template_run.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble template";

constexpr const char* kHelp =
    R"(Usage: thimble template create NAME [run options] [--freeze POINT] [--] CMD [ARGS…]
       thimble template ls [--json]
       thimble template inspect NAME
       thimble template rm NAME…

Boots CMD in a VM, waits until it is up and awaits its client, and freezes the VM on disk.
`thimble run --template NAME` starts a clone of it.

POINT is where to freeze:
  ready        CMD has been started and waits; clones share what it had in memory by then
  before-exec  the guest is up, CMD not started: each clone starts it anew
Without --freeze: ready for the images of node and python, whose random numbers are renewed in each
clone, unless --env gives CMD something to keep; before-exec for everything else.
A template holds what CMD had in memory, keys too: it is readable by you alone.
)";

struct CreateOptions {
  std::string freeze;
  std::string ready_within = "60s";
};

Result<FreezeRequest::Point> choose_point(const CreateOptions& create, const RunOptions& options,
                                          const image::Prepared& prepared) {
  using Point = FreezeRequest::Point;
  if (create.freeze == "ready") return Point::kReady;
  if (create.freeze == "before-exec") return Point::kBeforeExec;
  if (!create.freeze.empty()) {
    return fail("--freeze " + create.freeze + ": write ready or before-exec");
  }
  const bool renews = prepared.image.env.contains(image::kRenewsVariable);
  if (renews && options.env.empty()) return Point::kReady;
  say(renews ? "frozen before CMD starts, since --env may give it secrets (--freeze ready)"
             : "frozen before CMD starts, since its random numbers could not be renewed in clones "
               "(--freeze ready)");
  return Point::kBeforeExec;
}

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

TemplateFacts describe(const FreezeRequest& request, const RunOptions& options,
                       const image::Prepared& prepared) {
  TemplateFacts facts;
  facts.point = request.point;
  facts.memory_bytes = options.memory_bytes;
  facts.vcpus = options.vcpus;
  facts.disks.push_back({prepared.image.erofs.string(), "root"});
  for (size_t i = 0; i < prepared.mounts.size(); ++i) {
    facts.disks.push_back({prepared.mounts[i].erofs.string(), text("mount%zu", i)});
  }
  facts.created = static_cast<uint64_t>(::time(nullptr));
  facts.server.term_grace_ms = request.server.term_grace_ms;
  // A server that runs already has them; the file keeps no more of them than it needs.
  if (request.point == FreezeRequest::Point::kBeforeExec) facts.server = request.server;
  return facts;
}

Result<FreezeRequest> make_request(const CreateOptions& create, const RunOptions& options,
                                   const image::Prepared& prepared) {
  FreezeRequest request;
  auto point = choose_point(create, options, prepared);
  if (!point) return std::unexpected(point.error());
  auto identity = make_identity();
  if (!identity) return std::unexpected(identity.error());
  auto mounts = make_mounts(prepared);
  if (!mounts) return std::unexpected(mounts.error());
  auto server = make_server(options, prepared);
  if (!server) return std::unexpected(server.error());
  request.point = *point;
  request.identity = std::move(*identity);
  request.identity.mounts = std::move(*mounts);
  request.server = std::move(*server);
  request.on_stderr = [](std::string_view bytes) {
    (void)!::write(STDERR_FILENO, bytes.data(), bytes.size());
  };
  if (options.verbose) request.on_notice = say;
  return request;
}

// Boots a guest, brings it to the request's point and saves it; the VM is gone afterwards.
Result<void> freeze_into(TemplateStore::Draft& draft, VmSpec spec, const FreezeRequest& request) {
  auto vm = VmProcess::start(std::move(spec));
  if (!vm) return std::unexpected(vm.error());
  if (auto frozen = freeze_guest(*vm, request); !frozen) return frozen;
  auto files = draft.files();
  if (!files) return std::unexpected(files.error());
  auto saved = save(*vm, std::move(*files));
  vm->kill();
  if (!saved) return fail_in("save the template", saved);
  return {};
}

Result<int> create(const std::string& name, const CreateOptions& create_options,
                   const RunOptions& options) {
  auto ready_within = parse_duration(create_options.ready_within);
  if (!ready_within) return fail_in("--ready-within", ready_within);
  auto store = open_templates();
  if (!store) return std::unexpected(store.error());
  auto draft = store->draft(name);
  if (!draft) return std::unexpected(draft.error());
  auto prepared = prepare_server(options);
  if (!prepared) return std::unexpected(prepared.error());
  auto request = make_request(create_options, options, *prepared);
  if (!request) return std::unexpected(request.error());
  request->ready_limit = *ready_within;
  auto spec = make_vm(options, *prepared);
  if (!spec) return std::unexpected(spec.error());
  if (auto frozen = freeze_into(*draft, std::move(*spec), *request); !frozen) {
    return std::unexpected(frozen.error());
  }
  if (auto done = draft->publish(describe(*request, options, *prepared)); !done) {
    return std::unexpected(done.error());
  }
  say(text("template %s: %llu KiB", name.c_str(),
           static_cast<unsigned long long>(store->stored_bytes(name) >> 10)));
  return 0;
}

Result<int> create_main(const Arguments& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) {
    return usage_error(kName, "create needs a name: thimble template create NAME -- CMD");
  }
  CreateOptions create_options;
  auto parsed = parse_run({arguments.begin() + 1, arguments.end()}, [&](CLI::App& app) {
    app.add_option("--freeze", create_options.freeze, "Where to freeze: ready or before-exec");
    app.add_option("--ready-within", create_options.ready_within,
                   "Give up when CMD does not settle in this time (default: 60s)");
  });
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const auto& options = std::get<RunOptions>(parsed);
  if (!options.from_template.empty()) {
    return usage_error(kName, "a template of a template is not made: name a CMD");
  }
  return create(arguments.front(), create_options, options);
}

nlohmann::json to_json(const TemplateStore& store, const std::string& name,
                       const TemplateFacts& facts) {
  return {{"name", name},
          {"frozen", facts.point == FreezeRequest::Point::kReady ? "ready" : "before-exec"},
          {"created", facts.created},
          {"memory_bytes", facts.memory_bytes},
          {"vcpus", facts.vcpus},
          {"stored_bytes", store.stored_bytes(name)},
          {"folder", store.path_of(name).string()}};
}

Result<int> list(const Arguments& arguments) {
  const bool json = arguments == Arguments{"--json"};
  if (!arguments.empty() && !json) return usage_error(kName, "ls takes --json and nothing else");
  auto store = open_templates();
  if (!store) return std::unexpected(store.error());
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& name : store->names()) {
    auto facts = store->facts(name);
    if (!facts) {
      say(facts.error().message);
      continue;
    }
    if (json) {
      all.push_back(to_json(*store, name, *facts));
      continue;
    }
    std::printf("%-24s %-12s %6llu MiB on disk\n", name.c_str(),
                facts->point == FreezeRequest::Point::kReady ? "ready" : "before-exec",
                static_cast<unsigned long long>(store->stored_bytes(name) >> 20));
  }
  if (json) std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

Result<int> inspect(const Arguments& arguments) {
  if (arguments.size() != 1) return usage_error(kName, "inspect takes one NAME");
  auto store = open_templates();
  if (!store) return std::unexpected(store.error());
  auto facts = store->facts(arguments.front());
  if (!facts) return std::unexpected(facts.error());
  std::printf("%s\n", to_json(*store, arguments.front(), *facts).dump(2).c_str());
  return 0;
}

Result<int> remove(const Arguments& arguments) {
  if (arguments.empty()) return usage_error(kName, "rm takes one NAME or more");
  auto store = open_templates();
  if (!store) return std::unexpected(store.error());
  for (const std::string& name : arguments) {
    if (auto removed = store->remove(name); !removed) return std::unexpected(removed.error());
  }
  return 0;
}

Result<int> dispatch(const Arguments& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments.front();
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (verb == "create") return create_main(rest);
  if (verb == "ls") return list(rest);
  if (verb == "inspect") return inspect(rest);
  if (verb == "rm") return remove(rest);
  if (verb == "--help" || verb == "-h") return std::fputs(kHelp, stdout), 0;
  return usage_error(
      kName, verb.empty() ? "name a verb: create, ls, inspect, rm" : "unknown verb " + verb);
}

}  // namespace

int template_command(const Arguments& arguments) {
  auto status = dispatch(arguments);
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
