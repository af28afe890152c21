// Preparing what a plan chose.
#include <nlohmann/json.hpp>

#include "pool/image/ensure.h"
#include "pool/image/freshness.h"
#include "pool/image/plan.h"

namespace thimble::image {
namespace {

using Words = std::vector<std::string>;

std::string joined_names(const std::map<std::string, Words>& commands) {
  std::string names;
  for (const auto& [name, argv] : commands) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

Result<Words> guest_argv(const Plan& plan, const Image& image) {
  if (!plan.guest_argv.empty() && !plan.guest_argv[0].empty()) return plan.guest_argv;
  Words argv = image.default_command;
  if (!plan.image_command.empty()) {
    const auto command = image.commands.find(plan.image_command);
    if (command == image.commands.end()) {
      return fail("command " + plan.image_command + ": is not in " + image.name +
                  ": it has: " + joined_names(image.commands));
    }
    argv = command->second;
  }
  if (argv.empty() && !image.commands.empty()) {
    return fail("image " + image.name +
                ": has several commands: choose one with -p PACKAGE "
                "COMMAND: " +
                joined_names(image.commands));
  }
  if (argv.empty()) return fail("image " + image.name + ": no command: write one after --");
  if (!plan.guest_argv.empty()) {
    argv.insert(argv.end(), plan.guest_argv.begin() + 1, plan.guest_argv.end());
  }
  return argv;
}

std::string string_member(const nlohmann::json& object, const std::string& name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Why a command of a package is none here, when it was left out for a reason (recipe_npm.cpp).
Error explain_command(const Store& store, const Plan& plan, const Image& image, Error error) {
  const Result<nlohmann::json> inputs = store.inputs(image);
  if (!inputs) return error;
  std::string name = plan.image_command;
  if (name.empty()) name = string_member(*inputs, "default_command");
  const auto unusable = inputs->find("unusable_commands");
  const std::string why =
      unusable == inputs->end() ? std::string() : string_member(*unusable, name);
  if (why.empty()) return error;
  return Error{"command " + name + " of " + image.name + ": " + why +
               ": others can be chosen with -p PACKAGE COMMAND: " + joined_names(image.commands)};
}

// The plan's image; with --prefer-online of the version that the registry has now, if it answers.
Result<Image> image_of(const Store& store, const Plan& plan, const EnsureOptions& options) {
  const bool again = plan.resolve_now && is_older(store, plan.image, kResolveNowAfter);
  if (!again) return ensure_image(store, plan.image, options);
  EnsureOptions anew = options;
  anew.refresh = Refresh::kYes;
  Result<Image> fresh = ensure_image(store, plan.image, anew);
  if (fresh) return fresh;
  Result<Image> known = ensure_image(store, plan.image, options);
  if (known)
    options.progress("note: " + fresh.error().message + ": the version from before is used");
  return known;
}

}  // namespace

Result<Prepared> prepare_plan(const Store& store, const Plan& plan, const EnsureOptions& options) {
  Prepared prepared;
  if (!plan.not_found.empty()) {
    prepared.not_found = plan.not_found;
    return prepared;
  }
  Result<Image> image = image_of(store, plan, options);
  if (!image) return std::unexpected(image.error());
  Result<Words> argv = guest_argv(plan, *image);
  if (!argv) return std::unexpected(explain_command(store, plan, *image, argv.error()));
  prepared.argv = std::move(*argv);
  prepared.argv.insert(prepared.argv.begin(), plan.before.begin(), plan.before.end());
  for (const HostPath& path : plan.mounts) {
    const Result<Image> packed = ensure_image(store, path.request, options);
    if (!packed) return std::unexpected(packed.error());
    prepared.mounts.push_back({packed->erofs, path.guest.string()});
  }
  prepared.env = image->env.empty() ? base_environment() : image->env;
  prepared.workdir = plan.workdir.empty() ? image->workdir : plan.workdir;
  prepared.image = std::move(*image);
  return prepared;
}

}  // namespace thimble::image
