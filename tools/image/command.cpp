// Command lines of `thimble image` and `thimble prepare`.
#include "tools/image/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>

#include "tools/image/ensure.h"
#include "tools/image/plan.h"
#include "tools/image/store.h"

namespace thimble::image {
namespace {

using nlohmann::json;

constexpr int kExitUsage = 2;

struct BuildOptions {
  std::vector<std::string> what;  // npm:PKG | recipe NAME | DIR
  std::string name;
  std::string node = "npm";
  std::vector<std::string> command;
};

int report(const Error& error) {
  std::fprintf(stderr, "thimble: %s\n", error.message.c_str());
  return 1;
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

Result<Request> build_request(const BuildOptions& options) {
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
  if (request) request->node = options.node == "system" ? NodeSource::kSystem : NodeSource::kNpm;
  return request;
}

Result<Image> build(const BuildOptions& options) {
  Result<Store> store = Store::open();
  if (!store) return std::unexpected(store.error());
  if (!options.name.empty()) {
    if (Result<void> valid = check_image_name(options.name); !valid) {
      return std::unexpected(valid.error());
    }
  }
  Result<Request> request = build_request(options);
  if (!request) return std::unexpected(request.error());
  // A directory that did not change need not be read again; a package may have a newer version.
  const bool is_directory = request->kind == Request::Kind::kDirectory;
  Result<Image> image = ensure_image(*store, *request, progress_to_stderr(),
                                     is_directory ? Refresh::kNo : Refresh::kYes);
  if (image && !options.name.empty() && !is_directory) {
    const Result<void> named = store->set_name({options.name, image->digest, "named"});
    if (!named) return std::unexpected(named.error());
    image->name = options.name;
  }
  return image;
}

int run_build(const BuildOptions& options) {
  const Result<Image> image = build(options);
  if (!image) return report(image.error());
  print(image->name + " " + image->digest + "\n");
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
  std::string text;
  for (const StoredName& entry : store->names()) {
    const Result<Image> image = store->open_image(entry.digest, entry.name);
    if (!image) {
      report(image.error());
      continue;
    }
    const Result<Manifest> manifest = store->manifest(*image);
    if (!manifest) continue;
    rows.push_back(summary(*image, *manifest));
    char line[512];
    std::snprintf(line, sizeof line, "%-50s  %.12s  %10s  %s\n", image->name.c_str(),
                  image->digest.c_str(), human_size(image->size).c_str(), manifest->name.c_str());
    text += line;
  }
  if (as_json) {
    print(to_text(rows));
  } else {
    print(text.empty() ? "no images yet: `thimble image build npm:PACKAGE` makes one\n" : text);
  }
  return 0;
}

std::string describe(const Image& image, const Manifest& manifest) {
  std::string command;
  for (const std::string& word : image.default_command) command += word + " ";
  std::string text = "name      " + image.name + "\ncontains  " + manifest.name + "\ndigest    " +
                     image.digest + "\nfile      " + image.erofs.string() + "\nsize      " +
                     human_size(image.size) + "\ncommand   " + command + "\n";
  for (const auto& [name, value] : manifest.env)
    text.append("env       ").append(name).append("=").append(value).append("\n");
  return text + "made from " + to_text(manifest.inputs);
}

int run_inspect(const std::string& name, bool as_json, bool verify) {
  const Result<Store> store = Store::open();
  if (!store) return report(store.error());
  const Result<Image> image = store->find(name);
  if (!image) return report(image.error());
  const Result<Manifest> manifest = store->manifest(*image);
  if (!manifest) return report(manifest.error());
  if (verify) {
    if (const Result<void> sound = store->verify(*image); !sound) return report(sound.error());
    std::fprintf(stderr, "thimble: %s: content verified\n", image->name.c_str());
  }
  if (as_json) {
    json value = summary(*image, *manifest);
    value["manifest"] = json::parse(manifest_to_json(*manifest), nullptr, false);
    print(to_text(value));
  } else {
    print(describe(*image, *manifest));
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

int run_prepare(const std::vector<std::string>& argv, const std::string& image) {
  const Result<Store> store = Store::open();
  if (!store) return report(store.error());
  const Result<PlanContext> context = PlanContext::from_process(image);
  if (!context) return report(context.error());
  const Result<Plan> plan = plan_command(argv, *context);
  if (!plan) return report(plan.error());
  for (const std::string& note : plan->notes) {
    std::fprintf(stderr, "thimble: note: %s\n", note.c_str());
  }
  const Result<Prepared> prepared = prepare_plan(*store, *plan, progress_to_stderr());
  if (!prepared) return report(prepared.error());
  std::string text =
      "ready: image " + prepared->image.name + ", " + human_size(prepared->image.size) + "\n";
  for (std::size_t i = 0; i < prepared->mounts.size(); ++i) {
    text += "ready: " + plan->mounts[i].request.path.string() + " as a read-only copy at " +
            prepared->mounts[i].guest + "\n";
  }
  print(text);
  return 0;
}

int usage_error(const char* subcommand, const std::string& message) {
  std::fprintf(stderr, "thimble: %s: %s: see `thimble %s --help`\n", subcommand, message.c_str(),
               subcommand);
  return kExitUsage;
}

// CLI11 reports by exceptions: they end here.
std::optional<int> parse(CLI::App& app, const char* subcommand, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return usage_error(subcommand, error.what());
  }
  return std::nullopt;
}

// Where the user's command begins: after "--" or at the first word that is no option of ours.
int find_command(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--" || !word.starts_with('-')) return i;
    if (word == "--image") ++i;
  }
  return argc;
}

}  // namespace

int image_main(int argc, char** argv) {
  CLI::App app("Make, list, show and remove the root file systems that guests start from.",
               "thimble image");
  app.require_subcommand(1);

  BuildOptions options;
  CLI::App* build_command = app.add_subcommand(
      "build", "Make an image: npm:PACKAGE[@VERSION], recipe node|python|busybox, or a directory");
  build_command->add_option("what", options.what, "npm:PACKAGE[@VERSION] | recipe NAME | DIR")
      ->required()
      ->expected(1, 2);
  build_command->add_option("--name", options.name, "Also call the image NAME");
  build_command->add_option("--node", options.node, "Where node comes from: npm (pinned) or system")
      ->check(CLI::IsMember({"npm", "system"}));
  build_command->footer(
      "Examples:\n"
      "  thimble image build npm:@modelcontextprotocol/server-everything\n"
      "  thimble image build --name py recipe python\n"
      "  thimble image build --name mine ./rootfs -- /usr/bin/server --stdio\n"
      "What follows -- is the default command of an image from a directory.");

  bool as_json = false;
  CLI::App* list_command = app.add_subcommand("ls", "List the images");
  list_command->add_flag("--json", as_json, "As JSON");

  std::string inspected;
  bool verify = false;
  CLI::App* inspect_command = app.add_subcommand(
      "inspect", "Show what an image was made from: versions and integrity of everything in it");
  inspect_command->add_option("name", inspected, "Name or digest")->required();
  inspect_command->add_flag("--json", as_json, "As JSON");
  inspect_command->add_flag("--verify", verify, "Read all of it and compare its SHA-256");

  std::vector<std::string> removed;
  CLI::App* remove_command = app.add_subcommand("rm", "Remove images");
  remove_command->add_option("names", removed, "Names or digests")->required();

  char** const end = argv + argc;
  char** const separator =
      std::find_if(argv, end, [](std::string_view word) { return word == "--"; });
  const auto ours = static_cast<int>(separator - argv);
  if (const std::optional<int> status = parse(app, "image", ours, argv)) return *status;
  if (separator != end) options.command.assign(separator + 1, end);
  if (build_command->parsed()) return run_build(options);
  if (list_command->parsed()) return run_list(as_json);
  if (inspect_command->parsed()) return run_inspect(inspected, as_json, verify);
  return run_remove(removed);
}

int prepare_main(int argc, char** argv) {
  CLI::App app("Do the slow part of `thimble run -- CMD…` ahead: build the image that it needs.",
               "thimble prepare");
  std::string image;
  app.add_option("--image", image, "Image name, npm:PACKAGE or an erofs file");
  app.footer(
      "Usage: thimble prepare [--image IMAGE] [--] CMD ARGS...\n\nExample:\n  thimble prepare -- "
      "npx -y @modelcontextprotocol/server-memory");
  const int begin = std::min(find_command(argc, argv), argc);
  if (const std::optional<int> status = parse(app, "prepare", begin, argv)) return *status;
  std::vector<std::string> words(argv + begin, argv + argc);
  if (!words.empty() && words[0] == "--") words.erase(words.begin());
  return run_prepare(words, image);
}

}  // namespace thimble::image
