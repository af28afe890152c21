// `thimble template`: servers frozen once they are up, to be cloned by `thimble run --template`.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <utility>

#include "devices/text.h"
#include "mcp-agent/server_lines.h"
#include "mcp-agent/server_run.h"
#include "pool/launch/boot_turn.h"
#include "pool/launch/server_vm.h"
#include "pool/launch/template_key.h"
#include "pool/launch/template_make.h"
#include "tools/cli/commands.h"
#include "tools/cli/host_check.h"
#include "tools/cli/run_options.h"
#include "tools/cli/say.h"
#include "tools/cli/template_list.h"
#include "tools/cli/template_prune.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble template";
constexpr const char* kAutoPrefix = "auto-";
// Where a maker finds the turn that it goes on in.
constexpr int kPassedOn = 3;

constexpr const char* kHelp =
    R"(Usage: thimble template create NAME [run options] [--freeze POINT] [--] CMD [ARGS…]
       thimble template auto [run options] [--freeze POINT] [--] CMD [ARGS…]
       thimble template ls [--json]
       thimble template inspect NAME
       thimble template rm NAME…
       thimble template prune [--unused-for DURATION] [--max-size SIZE] [--all]

Boots CMD in a VM, waits until it is up and awaits its client, and freezes the VM.
`thimble run --template NAME` starts a clone of it. `thimble run -- CMD` makes and uses a template
for CMD by itself, and `auto` makes that one ahead.

POINT is where to freeze:
  ready        CMD has been started and waits; clones share what it had in memory by then
  before-exec  the guest is up, CMD not started: each clone starts it anew
Without --freeze: ready for the images of node and python, whose random numbers are reseeded in each
clone, unless --env gives CMD something to keep or CMD has started a program whose numbers are not
reseeded (C, Go, a shell); before-exec for everything else. ls shows what was not made, and why.

A template holds what CMD had in memory, keys too: it is readable by you alone. --in-memory keeps it
off the disk. prune removes what was not used for long (30d) and the least used ones until the rest
fits (16G).

Examples:
  thimble template create files -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  thimble run --template files
  thimble template prune --unused-for 7d
)";

struct CreateOptions {
  std::string freeze;
  std::string ready_within = "60s";
  std::optional<FreezeRequest::Point> point;  // what the two say
  std::chrono::milliseconds ready_limit{};
  bool in_background = false;
  bool with_turn = false;
  bool anew = false;
};

void declare_create(Options& declared, CreateOptions& options) {
  declared.add("--freeze", options.freeze, "Where to freeze: ready or before-exec");
  declared.add("--ready-within", options.ready_within,
               "Give up when CMD does not settle in this time (default: 60s)");
  declared.add_flag("--in-background", options.in_background,
                    "Yield to all other work, and note a failure for later runs");
  declared.add_flag("--with-turn", options.with_turn,
                    "Descriptor 3 is the turn of the run that started this in the background");
  declared.add_flag("--anew", options.anew, "auto: make it even when there is one, in its place");
}

Result<void> understand(CreateOptions& create) {
  auto ready_within = parse_duration(create.ready_within);
  if (!ready_within) return fail_in("--ready-within", ready_within);
  create.ready_limit = *ready_within;
  if (create.freeze.empty()) return {};
  auto point = launch::parse_point(create.freeze);
  if (!point) return std::unexpected(point.error());
  create.point = *point;
  return {};
}

launch::TemplateOrder make_order(const CreateOptions& create, const RunOptions& options,
                                 const image::Prepared& prepared) {
  launch::TemplateOrder order;
  order.ready_limit = create.ready_limit;
  if (create.point) {
    order.point = *create.point;
    return order;
  }
  const launch::PointChoice choice = launch::choose_point(options, prepared);
  if (*choice.why != 0) say(choice.why);
  order.point = choice.point;
  return order;
}

launch::TemplatePlace place_of(const RunOptions& options) {
  return options.in_memory ? launch::TemplatePlace::kMemory : launch::TemplatePlace::kDisk;
}

Result<std::string> automatic_name(FreezeRequest::Point point, const RunOptions& options,
                                   const image::Prepared& prepared) {
  auto server = launch::make_server(options, prepared, say);
  if (!server) return std::unexpected(server.error());
  auto key = launch::TemplateKey::collect(options, prepared, *server);
  if (!key) return std::unexpected(key.error());
  return key->name(point);
}

// What the server writes to stderr meanwhile goes to ours.
Result<launch::TemplateMade> make_shown(const TemplateStore& store,
                                        const launch::TemplateOrder& order,
                                        const RunOptions& options,
                                        const image::Prepared& prepared) {
  ServerLines lines;
  launch::MakingListener listener;
  listener.on_stderr = [&lines](std::string_view bytes) { pass_on(lines.pass(bytes)); };
  listener.on_end_of_stderr = [&lines] {
    if (lines.leave_line()) end_line();
  };
  listener.on_notice = [&listener](std::string_view line) {
    listener.on_end_of_stderr();
    say(line);
  };
  listener.say = say;
  return launch::make_template(store, order, options, prepared, listener);
}

// Makes it where it is missing. What cannot be made is noted for later runs.
Result<launch::TemplateMade> make_one(const TemplateStore& store,
                                      const launch::TemplateOrder& order,
                                      const CreateOptions& create, const RunOptions& options,
                                      const image::Prepared& prepared, Fd passed_on) {
  auto lock = store.lock(order.name);
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) return fail("template " + order.name + " is being made by somebody else");
  const bool by_itself = order.name.starts_with(kAutoPrefix);
  if (by_itself && !create.anew && store.has(order.name)) return launch::TemplateMade{};
  const auto turn = create.in_background
                        ? launch::take_background_turn(order.name, std::move(passed_on))
                        : launch::take_boot_turn({}, options.verbose, say);
  if (!turn) return std::unexpected(turn.error());
  auto made = make_shown(store, order, options, prepared);
  if (!made) {
    if (create.in_background) store.note_failure(order.name, made.error().message);
    return made;
  }
  if (!made->refusal.empty()) {
    // The name stands for the image, the command and all else: another image is another name.
    if (by_itself) store.note_refusal(order.name, made->refusal);
    return made;
  }
  say(text("template %s: %llu KiB", order.name.c_str(),
           static_cast<unsigned long long>(store.stored_bytes(order.name) >> 10)));
  if (by_itself) prune_templates(store, {.keep = order.name});
  return made;
}

// `name` empty: the automatic one.
Result<int> make(const std::string& name, const CreateOptions& create, const RunOptions& options) {
  Fd passed_on(create.with_turn ? ::fcntl(kPassedOn, F_DUPFD_CLOEXEC, kPassedOn + 1) : -1);
  if (passed_on) ::close(kPassedOn);
  auto store = launch::open_templates(place_of(options));
  if (!store) return std::unexpected(store.error());
  auto prepared = prepare_server(options);
  if (!prepared) return std::unexpected(prepared.error());
  if (!prepared->not_found.empty()) return fail(prepared->not_found);
  launch::TemplateOrder order = make_order(create, options, *prepared);
  order.accepts_unreseeded = !name.empty() && !create.freeze.empty();
  for (;;) {
    auto chosen =
        name.empty() ? automatic_name(order.point, options, *prepared) : Result<std::string>(name);
    if (!chosen) return std::unexpected(chosen.error());
    order.name = *chosen;
    auto made = make_one(*store, order, create, options, *prepared, std::exchange(passed_on, Fd()));
    if (!made) return std::unexpected(made.error());
    if (made->refusal.empty()) return 0;
    say(made->refusal + ": frozen before CMD starts");
    order.point = FreezeRequest::Point::kBeforeExec;
    // Others, too, use an automatic one that is frozen before exec.
    if (!name.empty()) order.note = made->refusal;
  }
}

Result<int> make_main(const std::string& name, const Arguments& arguments) {
  CreateOptions create;
  auto parsed =
      parse_run(arguments, [&create](Options& declared) { declare_create(declared, create); });
  if (const int* status = std::get_if<int>(&parsed)) return *status;
  const auto& options = std::get<RunOptions>(parsed);
  if (!options.from_template.empty()) {
    return usage_error(kName, "a template of a template is not made: name a CMD");
  }
  if (auto understood = understand(create); !understood) {
    return usage_error(kName, understood.error().message);
  }
  return make(name, create, options);
}

Result<int> create_main(const Arguments& arguments) {
  if (arguments.empty() || arguments.front().starts_with('-')) {
    return usage_error(kName, "create needs a name: thimble template create NAME -- CMD");
  }
  if (arguments.front().starts_with(kAutoPrefix)) {
    return usage_error(kName, "names that begin with auto- are thimble's own");
  }
  return make_main(arguments.front(), {arguments.begin() + 1, arguments.end()});
}

Result<int> dispatch(const Arguments& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments.front();
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (verb == "create") return create_main(rest);
  if (verb == "auto") return make_main("", rest);
  if (verb == "ls") return list_templates(rest);
  if (verb == "inspect") return inspect_templates(rest);
  if (verb == "rm") return remove_templates(rest);
  if (verb == "prune") return prune_main(rest);
  return usage_error(kName, verb.empty() ? "name a verb: create, auto, ls, inspect, rm, prune"
                                         : "unknown verb " + verb);
}

}  // namespace

int template_command(const Arguments& arguments) {
  if (asks_for_help(arguments)) return print_text(kHelp), 0;
  auto status = dispatch(arguments);
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
