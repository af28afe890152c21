// `thimble prepare`: the slow part of `thimble run`, ahead of it.
#include "pool/image/ensure.h"
#include "pool/image/plan.h"
#include "pool/image/store.h"
#include "tools/cli/commands.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

using namespace thimble::image;  // NOLINT: this file is about images

Result<void> prepare(const Arguments& command, const std::string& image, const std::string& user) {
  const Result<Store> store = Store::open();
  if (!store) return std::unexpected(store.error());
  Result<PlanContext> context = PlanContext::from_process(image);
  if (!context) return std::unexpected(context.error());
  context->user = user;
  const Result<Plan> plan = plan_command(command, *context);
  if (!plan) return std::unexpected(plan.error());
  for (const std::string& note : plan->notes) {
    say("note: " + note);
  }
  const Result<Prepared> prepared = prepare_plan(*store, *plan, {.progress = say});
  if (!prepared) return std::unexpected(prepared.error());
  if (!prepared->not_found.empty()) return fail(prepared->not_found);
  print("ready: image " + store->title(prepared->image) + ", " + human_size(prepared->image.size));
  for (std::size_t i = 0; i < prepared->mounts.size(); ++i) {
    print("ready: " + plan->mounts[i].request.path.string() + " as a copy at " +
          prepared->mounts[i].guest);
  }
  return {};
}

}  // namespace

int prepare_command(const Arguments& arguments) {
  std::string image;
  std::string user;
  Options options(
      "thimble prepare",
      "Does the slow part of `thimble run -- CMD…` ahead: builds the image that it needs.");
  options.set_usage("thimble prepare [--image IMAGE] [--user USER] [--] CMD ARGS…");
  options.set_footer("Example:\n  thimble prepare -- npx -y @modelcontextprotocol/server-memory");
  options.add("--image", image, "Image name, npm:PACKAGE or an erofs file");
  options.add("--user", user,
              "User in the VM, as for thimble run: copies of your paths are theirs");
  const SplitArguments split = options.split(arguments);
  if (auto status = options.parse(split.options)) return *status;
  if (split.command.empty() && image.empty()) {
    return usage_error(options.name(), "no command: write `thimble prepare -- CMD ARGS…`");
  }
  auto done = prepare(split.command, image, user);
  if (done) return 0;
  say(done.error().message);
  return 1;
}

}  // namespace thimble::cli
