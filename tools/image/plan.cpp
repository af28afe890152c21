// Choosing an image by the command, and preparing what was chosen.
#include "tools/image/plan.h"

#include <array>
#include <cstdlib>

#include "devices/text.h"
#include "tools/image/ensure.h"
#include "tools/image/files.h"
#include "tools/image/named_paths.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

Request recipe(const char* name) {
  Request request;
  request.kind = Request::Kind::kRecipe;
  request.name = name;
  return request;
}

bool is_python(const std::string& program) {
  if (!program.starts_with("python")) return false;
  return program.find_first_not_of("0123456789.", 6) == std::string::npos;
}

// What `npx` and `npm exec` were asked to run.
struct NpxCall {
  std::string package;  // of -p, or the first word
  std::string command;  // the word after -p PACKAGE; empty: the package's own
  Words arguments;
};

Result<NpxCall> parse_npx(const Words& argv, std::size_t at, const std::string& tool) {
  NpxCall call;
  for (; at < argv.size(); ++at) {
    const std::string& word = argv[at];
    if (word == "--") {
      ++at;
      break;
    }
    if (!word.starts_with('-')) break;
    constexpr std::array<const char*, 8> kHarmless = {
        "-y", "--yes", "-q", "--quiet", "-s", "--silent", "--prefer-offline", "--prefer-online"};
    const std::string name = word.substr(0, word.find('='));
    if (name == "-p" || name == "--package") {
      if (!call.package.empty()) {
        return fail(tool + ": two packages: only one can be in an image");
      }
      const bool inside = word.size() > name.size();
      if (!inside && at + 1 == argv.size()) {
        return fail(text("%s: %s needs a package", tool.c_str(), word.c_str()));
      }
      call.package = inside ? word.substr(name.size() + 1) : argv[++at];
    } else if (std::ranges::find(kHarmless, word) == kHarmless.end()) {
      return fail(text("%s option %s: is not known here: write npx [-y] [-p PACKAGE] COMMAND ARGS…",
                       tool.c_str(), word.c_str()));
    }
  }
  if (at == argv.size()) return fail(tool + ": which package? write npx [-y] PACKAGE ARGS…");
  (call.package.empty() ? call.package : call.command) = argv[at];
  call.arguments.assign(argv.begin() + static_cast<std::ptrdiff_t>(at) + 1, argv.end());
  return call;
}

// Interpreter named by a script's first line, or implied by its name.
std::string script_language(const fs::path& file) {
  const Result<std::string> text = read_file(file);
  const std::string first =
      text ? text->substr(0, std::min<std::size_t>(text->find('\n'), 256)) : "";
  if (first.starts_with("#!")) {
    if (first.find("node") != std::string::npos) return "node";
    if (first.find("python") != std::string::npos) return "python3";
    return {};
  }
  const std::string extension = file.extension().string();
  if (extension == ".js" || extension == ".mjs" || extension == ".cjs") return "node";
  if (extension == ".py") return "python3";
  return {};
}

class Planner {
 public:
  Planner(const Words& argv, const PlanContext& context)
      : argv_(argv), context_(context), paths_(context.cwd, context.home) {}

  Result<Plan> run() {
    if (argv_.empty() && context_.image.empty()) {
      return fail("no command: write it after --, for example: thimble run -- node server.js");
    }
    Result<void> done = context_.image.empty() ? by_command() : by_image();
    if (!done) return std::unexpected(done.error());
    return finish();
  }

 private:
  Result<void> by_image() {
    Result<Request> request = request_image(context_.image, context_.cwd);
    if (!request) return std::unexpected(request.error());
    plan_.image = std::move(*request);
    words_ = argv_;
    return {};
  }

  Result<void> by_command() {
    const std::string program = fs::path(argv_[0]).filename().string();
    words_ = argv_;
    if (program == "npx") return by_npx(1, "npx");
    if (program == "npm") {
      const bool exec = argv_.size() > 1 && (argv_[1] == "exec" || argv_[1] == "x");
      if (!exec) return fail("npm: only `npm exec` can be run: otherwise name the program itself");
      return by_npx(2, "npm exec");
    }
    if (program == "node" || program == "nodejs") return by_interpreter("node", "node");
    if (is_python(program))
      return by_interpreter("python", program == "python" ? program : "python3");
    return by_file();
  }

  Result<void> by_npx(std::size_t at, const std::string& tool) {
    Result<NpxCall> call = parse_npx(argv_, at, tool);
    if (!call) return std::unexpected(call.error());
    Result<Request> request = request_npm(call->package);
    if (!request) return std::unexpected(request.error());
    plan_.image = std::move(*request);
    plan_.image_command = std::move(call->command);
    words_ = std::move(call->arguments);
    words_.insert(words_.begin(), "");
    return {};
  }

  Result<void> by_interpreter(const char* image, const std::string& program) {
    plan_.image = recipe(image);
    words_[0] = program;
    for (std::size_t i = 1; i + 1 < words_.size() && program.starts_with("python"); ++i) {
      if (words_[i] == "-m") paths_.take_module(words_[i + 1]);
    }
    return {};
  }

  // A program given by its path is a script of the host's; a bare name is one of busybox's.
  Result<void> by_file() {
    plan_.image = recipe("busybox");
    if (argv_[0].find('/') == std::string::npos) return {};
    const fs::path file = context_.cwd / argv_[0];
    std::error_code code;
    if (!fs::is_regular_file(file, code)) return {};
    const std::string language = script_language(file);
    if (language.empty()) return {};
    plan_.image = recipe(language == "node" ? "node" : "python");
    words_.insert(words_.begin(), language);
    return {};
  }

  Result<Plan> finish() {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (is_argument(i)) paths_.take(words_[i]);
    }
    Result<std::vector<HostPath>> mounts = paths_.mounts();
    if (!mounts) return std::unexpected(mounts.error());
    plan_.mounts = std::move(*mounts);
    plan_.workdir = paths_.workdir();
    for (std::size_t i = 0; i < words_.size(); ++i) {
      plan_.guest_argv.push_back(is_argument(i) ? paths_.rewrite(words_[i]) : words_[i]);
    }
    plan_.notes = paths_.notes();
    return std::move(plan_);
  }

  // The program's own name counts as a path only when written as one.
  bool is_argument(std::size_t i) const {
    return i > 0 || words_[i].find('/') != std::string::npos;
  }

  const Words& argv_;
  const PlanContext& context_;
  NamedPaths paths_;
  Words words_;  // becomes guest_argv
  Plan plan_;
};

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

}  // namespace

Result<PlanContext> PlanContext::from_process(std::string image) {
  PlanContext context;
  std::error_code code;
  context.cwd = fs::current_path(code);
  if (code) return fail("find the current directory: " + code.message());
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') {
    context.home = fs::canonical(home, code);
    if (code) context.home = fs::path(home).lexically_normal();
  }
  context.image = std::move(image);
  return context;
}

Result<Plan> plan_command(const Words& argv, const PlanContext& context) {
  return Planner(argv, context).run();
}

Result<Prepared> prepare_plan(const Store& store, const Plan& plan, const Progress& progress) {
  Result<Image> image = ensure_image(store, plan.image, progress);
  if (!image) return std::unexpected(image.error());
  Prepared prepared;
  Result<Words> argv = guest_argv(plan, *image);
  if (!argv) return std::unexpected(explain_command(store, plan, *image, argv.error()));
  prepared.argv = std::move(*argv);
  for (const HostPath& path : plan.mounts) {
    const Result<Image> packed = ensure_image(store, path.request, progress);
    if (!packed) return std::unexpected(packed.error());
    prepared.mounts.push_back({packed->erofs, path.guest.string()});
  }
  prepared.env = image->env.empty() ? base_environment() : image->env;
  prepared.workdir = plan.workdir.empty() ? image->workdir : plan.workdir;
  prepared.image = std::move(*image);
  return prepared;
}

}  // namespace thimble::image
