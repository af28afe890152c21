// `thimble image`: makes, lists, shows and removes the root file systems that guests start from.
// Results go to stdout, progress and errors to stderr.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "devices/text.h"
#include "pool/image/ensure.h"
#include "pool/image/plan.h"
#include "pool/image/store.h"
#include "tools/cli/commands.h"
#include "tools/cli/install_scripts.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

using namespace thimble::image;  // NOLINT: this file is about images
using nlohmann::json;

constexpr const char* kUsage =
    R"(Usage: thimble image build|ls|inspect|rm …

Makes, lists, shows and removes the root file systems that guests start from.

  build WHAT [--name NAME] [-- CMD…]    from npm:PACKAGE[@VERSION], recipe node|python|busybox, or a
                                        directory
  ls [--json]                           the images
  inspect NAME [--json] [--verify]      versions and integrity of everything in an image
  rm NAME…                              removes images

`thimble image VERB --help` tells more.
)";

struct BuildOptions {
  std::vector<std::string> what;  // npm:PKG | recipe NAME | DIR
  std::string name;
  std::string node = "npm";
  std::vector<std::string> command;
  bool run_scripts = false;
};

int report(const Error& error) {
  say(error.message);
  return 1;
}

Result<Request> build_request(const BuildOptions& options) {
  if (!options.name.empty()) {
    if (Result<void> valid = check_image_name(options.name); !valid) {
      return std::unexpected(valid.error());
    }
  }
  const std::string& first = options.what[0];
  Result<Request> request = fail("");
  if (first == "recipe") {
    request = options.what.size() == 2 ? request_recipe(options.what[1])
                                       : fail("recipe: which? node, python or busybox");
  } else if (options.what.size() != 1) {
    request = fail("image build: one thing at a time: got " + options.what[1] + " too");
  } else if (first.starts_with("npm:")) {
    request = request_npm(first.substr(4));
  } else if (is_recipe(first)) {
    request = request_recipe(first);
  } else {
    const auto directory = std::filesystem::path(first).lexically_normal();
    const auto base = directory.has_filename() ? directory : directory.parent_path();
    request = request_directory(directory,
                                options.name.empty() ? base.filename().string() : options.name);
    if (request) request->command = options.command;
  }
  if (request && request->kind != Request::Kind::kDirectory && !options.command.empty()) {
    return fail("image build: a default command after -- is only for an image from a directory");
  }
  if (request && request->kind != Request::Kind::kNpm && options.run_scripts) {
    return fail("--run-scripts: only npm packages have install scripts: write npm:PACKAGE");
  }
  if (request) request->node = options.node == "system" ? NodeSource::kSystem : NodeSource::kNpm;
  return request;
}

// A directory that did not change need not be read again; a package may have a newer version. For
// scripts, the one that is there will do where the registry cannot be asked.
Result<Image> make(const Store& store, const Request& request, const BuildOptions& options) {
  if (request.kind == Request::Kind::kDirectory)
    return ensure_image(store, request, {.progress = say});
  Result<Image> image = ensure_image(store, request, {.progress = say, .refresh = Refresh::kYes});
  if (!options.run_scripts) return image;
  if (!image) {
    Result<Image> known = store.find(request.name);
    if (!known) return image;
    say("note: " + image.error().message + ": the version from before is used");
    image = std::move(known);
  }
  return run_install_scripts(store, request, *image);
}

Result<Image> build(const BuildOptions& options, const Request& request) {
  Result<Store> store = Store::open();
  if (!store) return std::unexpected(store.error());
  Result<Image> image = make(*store, request, options);
  if (image && !options.name.empty() && request.kind != Request::Kind::kDirectory) {
    const Result<void> named = store->set_name({options.name, image->digest, "named"});
    if (!named) return std::unexpected(named.error());
    image->name = options.name;
  }
  return image;
}

int run_build(const BuildOptions& options) {
  const Result<Request> request = build_request(options);
  if (!request) return usage_error("thimble image build", request.error().message);
  const Result<Image> image = build(options, *request);
  if (!image) return report(image.error());
  print(image->name + " " + image->digest);
  return 0;
}

json summary(const Image& image, const Manifest& manifest) {
  return {{"name", image.name}, {"digest", image.digest},    {"file", image.erofs.string()},
          {"size", image.size}, {"contains", manifest.name}, {"command", image.default_command}};
}

int run_list(bool as_json) {
  const Result<Store> store = Store::open();
  if (!store) return report(store.error());
  json rows = json::array();
  std::vector<std::string> lines;
  const Result<std::vector<StoredName>> names = store->names();
  if (!names) return report(names.error());
  for (const StoredName& entry : *names) {
    const Result<Image> image = store->open_image(entry.digest, entry.name);
    if (!image) {
      report(image.error());
      continue;
    }
    const Result<Manifest> manifest = store->manifest(*image);
    if (!manifest) continue;
    rows.push_back(summary(*image, *manifest));
    lines.push_back(text("%-50s  %.12s  %10s  %s", image->name.c_str(), image->digest.c_str(),
                         human_size(image->size).c_str(), manifest->name.c_str()));
  }
  if (as_json) return print_json(rows), 0;
  for (const std::string& line : lines) print(line);
  if (lines.empty()) print("no images yet: `thimble image build npm:PACKAGE` makes one");
  return 0;
}

void describe(const Image& image, const Manifest& manifest) {
  std::string command;
  for (const std::string& word : image.default_command) command += word + " ";
  print("name      " + image.name);
  print("contains  " + manifest.name);
  print("digest    " + image.digest);
  print("file      " + image.erofs.string());
  print("size      " + human_size(image.size));
  print("command   " + command);
  for (const auto& [name, value] : manifest.env) {
    std::string line = "env       ";
    print(line.append(name).append("=").append(value));
  }
}

int run_inspect(const std::string& name, bool as_json, bool verify) {
  const Result<Store> store = Store::open();
  if (!store) return report(store.error());
  const Result<Image> image = store->find(name);
  if (!image) return report(image.error());
  const Result<Manifest> manifest = store->manifest(*image);
  if (!manifest) return report(manifest.error());
  const Result<json> inputs = store->inputs(*image);
  if (!inputs) return report(inputs.error());
  if (verify) {
    if (const Result<void> sound = store->verify(*image); !sound) return report(sound.error());
    say(image->name + ": content verified");
  }
  if (as_json) {
    json value = summary(*image, *manifest);
    value["manifest"] = read_foreign_json(manifest_to_json(*manifest));
    value["inputs"] = *inputs;
    print_json(value);
  } else {
    describe(*image, *manifest);
    print("made from");
    print_json(*inputs);
  }
  return 0;
}

int run_remove(const std::vector<std::string>& names) {
  const Result<Store> store = Store::open();
  if (!store) return report(store.error());
  int status = 0;
  for (const std::string& name : names) {
    if (const Result<void> removed = store->remove(name); !removed) {
      status = report(removed.error());
    }
  }
  store->sweep();
  return status;
}

int build_command(const Arguments& arguments) {
  BuildOptions options;
  Options declared("thimble image build", "Makes an image.");
  declared.set_usage(
      "thimble image build WHAT [--name NAME] [--node npm|system] [--run-scripts] [-- CMD ARGS…]");
  declared.set_footer(
      "Examples:\n"
      "  thimble image build npm:@modelcontextprotocol/server-everything\n"
      "  thimble image build --run-scripts npm:PACKAGE\n"
      "  thimble image build --name py recipe python\n"
      "  thimble image build --name mine ./rootfs -- /usr/bin/server --stdio\n"
      "What follows -- is the default command of an image from a directory.");
  declared.add("WHAT", options.what, "npm:PACKAGE[@VERSION] | recipe NAME | DIR")
      .required()
      .words(1, 2);
  declared.add("--name", options.name, "Also call the image NAME");
  declared.add("--node", options.node, "Where node comes from: npm (pinned) or system")
      .one_of({"npm", "system"});
  declared.add_flag("--run-scripts", options.run_scripts,
                    "Run the package's install scripts, in a microVM without network");
  const auto separator = std::ranges::find(arguments, "--");
  if (auto status = declared.parse({arguments.begin(), separator})) return *status;
  if (separator != arguments.end()) options.command.assign(separator + 1, arguments.end());
  return run_build(options);
}

int list_command(const Arguments& arguments) {
  bool as_json = false;
  Options declared("thimble image ls", "Lists the images.");
  declared.set_footer("Example:\n  thimble image ls --json");
  declared.add_flag("--json", as_json, "As JSON");
  if (auto status = declared.parse(arguments)) return *status;
  return run_list(as_json);
}

int inspect_command(const Arguments& arguments) {
  std::string name;
  bool as_json = false;
  bool verify = false;
  Options declared(
      "thimble image inspect",
      "Shows what an image was made from: versions and integrity of everything in it.");
  declared.set_footer(
      "Example:\n  thimble image inspect --verify npm:@modelcontextprotocol/server-memory");
  declared.add("NAME", name, "Name, contents or digest (8 digits at least), as ls prints them")
      .required();
  declared.add_flag("--json", as_json, "As JSON");
  declared.add_flag("--verify", verify, "Read all of it and compare its SHA-256");
  if (auto status = declared.parse(arguments)) return *status;
  return run_inspect(name, as_json, verify);
}

int remove_command(const Arguments& arguments) {
  std::vector<std::string> names;
  Options declared("thimble image rm", "Removes images.");
  declared.set_footer("Example:\n  thimble image rm npm:@modelcontextprotocol/server-memory mine");
  declared.add("NAMES", names, "Names, contents or digests, as ls prints them").required();
  if (auto status = declared.parse(arguments)) return *status;
  return run_remove(names);
}

}  // namespace

int image_command(const Arguments& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments.front();
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (verb == "build") return build_command(rest);
  if (verb == "ls") return list_command(rest);
  if (verb == "inspect") return inspect_command(rest);
  if (verb == "rm") return remove_command(rest);
  if (verb == "--help" || verb == "-h") return print_text(kUsage), 0;
  if (verb.empty()) return explain(kUsage), kExitUsage;
  return usage_error("thimble image", "unknown verb " + verb);
}

}  // namespace thimble::cli
