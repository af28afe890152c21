// Choosing an image by the command.
#include "pool/image/plan.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "pool/image/command/entry.h"
#include "pool/image/command/env_command.h"
#include "pool/image/command/invocation.h"
#include "pool/image/command/npx.h"
#include "pool/image/command/package_root.h"
#include "pool/image/command/places.h"
#include "pool/image/command/programs.h"
#include "pool/image/command/python.h"
#include "pool/image/command/script.h"
#include "pool/image/command/venv.h"
#include "pool/image/elf_needs.h"
#include "pool/image/files.h"
#include "pool/image/named_paths.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

constexpr int kNodeVersion = 22;  // of the recipe
constexpr const char* kGuestPython = "/usr/bin/python3";

Request recipe(const char* name) {
  Request request;
  request.kind = Request::Kind::kRecipe;
  request.name = name;
  return request;
}

bool contains(const std::vector<std::size_t>& list, std::size_t word) {
  return std::ranges::find(list, word) != list.end();
}

bool has_slash(const std::string& word) { return word.find('/') != std::string::npos; }

// A place of commands: of programs there, the name says all.
bool is_system_bin(const fs::path& file) {
  const std::string folder = file.parent_path().filename().string();
  return is_system(file) && (folder == "bin" || folder == "sbin");
}

// The major version in …/node/v20.1.0/bin/node, as version managers lay them out; 0: none.
int version_in(const fs::path& program) {
  for (const fs::path& part : program) {
    const std::string name = part.string();
    const std::size_t digits = name.starts_with('v') ? 1 : 0;
    const std::size_t end = name.find_first_not_of("0123456789", digits);
    if (end == std::string::npos || end == digits || name[end] != '.') continue;
    return std::atoi(name.c_str() + digits);
  }
  return 0;
}

class Planner {
 public:
  Planner(const Words& argv, const PlanContext& context)
      : words_(argv),
        context_(context),
        places_{.cwd = context.cwd, .home = context.home},
        paths_(places_, context.user) {}

  Result<Plan> run() {
    if (words_.empty() && context_.image.empty()) {
      return fail("no command: write it after --, for example: thimble run -- node server.js");
    }
    Result<void> done = context_.image.empty() ? by_command() : by_image();
    if (done) done = take_paths();
    if (!done) return std::unexpected(done.error());
    return finish();
  }

 private:
  Result<void> by_image() {
    Result<Request> request = request_image(context_.image, context_.cwd);
    if (!request) return std::unexpected(request.error());
    plan_.image = std::move(*request);
    if (words_.empty()) return {};
    arguments_from_ = 1;
    read_words(runtime_of(fs::path(words_[0]).filename()));
    if (has_slash(words_[0]) && !is_system(place_of(words_[0]))) invocation_.programs.push_back(0);
    return {};
  }

  Result<void> by_command() {
    Result<Words> env = take_env_command(words_);
    if (!env) {
      plan_.image = recipe("busybox");
      plan_.not_found = env.error().message;
      return {};
    }
    before_ = std::move(*env);
    const std::string program = fs::path(words_[0]).filename().string();
    if (program == "npx") return by_npx({words_.begin() + 1, words_.end()}, NpxForm::kNpx);
    if (program == "npm") return by_npm();
    switch (runtime_of(program)) {
      case Runtime::kNode:
        return by_node();
      case Runtime::kPython:
        return by_python(words_[0], 1);
      default:
        return has_slash(words_[0]) ? by_file() : by_name();
    }
  }

  Result<void> by_npm() {
    const auto verb = std::find_if(words_.begin() + 1, words_.end(),
                                   [](const std::string& word) { return !word.starts_with('-'); });
    if (verb == words_.end() || (*verb != "exec" && *verb != "x")) {
      return fail("npm: only `npm exec` can be run: otherwise name the program itself");
    }
    Words rest(words_.begin() + 1, verb);
    rest.insert(rest.end(), verb + 1, words_.end());
    return by_npx(rest, NpxForm::kNpmExec);
  }

  Result<void> by_npx(const Words& rest, NpxForm form) {
    Result<NpxCall> call = parse_npx(rest, form);
    if (!call) return std::unexpected(call.error());
    if (call->command.empty()) {
      if (const fs::path file = local_command(call->package, context_.cwd); !file.empty()) {
        words_ = std::move(call->arguments);
        words_.insert(words_.begin(), file.string());
        return by_file();
      }
    }
    if (call->local_only) {
      return fail(call->package +
                  ": not in this project's node_modules, and --no-install forbids "
                  "to fetch it: install it there, or leave out the option");
    }
    Result<Request> request = request_npm(call->package);
    if (!request) return std::unexpected(request.error());
    plan_.image = std::move(*request);
    plan_.image_command = std::move(call->command);
    plan_.resolve_now = call->resolve_now;
    words_ = std::move(call->arguments);
    words_.insert(words_.begin(), "");
    arguments_from_ = 1;
    return {};
  }

  Result<void> by_node() {
    plan_.image = recipe("node");
    if (has_slash(words_[0])) {
      const fs::path program = place_of(words_[0]);
      std::error_code code;
      if (!is_system(program) && !fs::exists(program, code)) return not_found(program);
      const int version = version_in(fs::canonical(program, code));
      if (version != 0 && version != kNodeVersion) {
        paths_.note(program.string() + ": node " + std::to_string(kNodeVersion) +
                    " of the image runs in its place");
      }
    }
    words_[0] = "node";
    arguments_from_ = 1;
    read_words(Runtime::kNode);
    return {};
  }

  // The first `count` words name the interpreter, as the command or a script's first line does.
  Result<void> by_python(const std::string& interpreter, std::size_t count) {
    const fs::path written =
        has_slash(interpreter) ? place_of(interpreter) : active_python(interpreter);
    if (const std::optional<Venv> venv = find_venv(written, places_)) {
      return by_venv(*venv, written.filename(), count);
    }
    std::error_code code;
    if (!written.empty() && !is_system(written) && !fs::exists(written, code)) {
      return not_found(written);
    }
    const std::string name = fs::path(interpreter).filename().string();
    if (Result<void> same = check_python(name, written); !same) return same;
    use_python(name == "python" ? name : "python3", count);
    check_module(nullptr);
    return {};
  }

  // What `python` means where an environment is active.
  fs::path active_python(const std::string& name) const {
    std::error_code code;
    if (context_.virtual_env.empty()) return {};
    const fs::path program = context_.virtual_env / "bin" / name;
    return fs::exists(program, code) ? program : fs::path();
  }

  void use_python(const std::string& program, std::size_t count) {
    plan_.image = recipe("python");
    words_.erase(words_.begin(), words_.begin() + static_cast<std::ptrdiff_t>(count));
    words_.insert(words_.begin(), program);
    arguments_from_ = 1;
    read_words(Runtime::kPython);
  }

  Result<void> by_venv(const Venv& venv, const fs::path& name, std::size_t count) {
    if (Result<void> added = add_venv(venv); !added) return added;
    use_python((venv.root / "bin" / name).string(), count);
    check_module(&venv);
    return {};
  }

  Result<void> add_venv(const Venv& venv) {
    if (Result<void> same = check_venv(venv); !same) return same;
    if (places_.is_forbidden(venv.root)) {
      return fail(venv.root.string() +
                  ": an environment in this place does not go into a guest: "
                  "make it in a directory of its own");
    }
    paths_.take_folder(venv.root);
    for (const fs::path& project : venv.projects) paths_.take_folder(project);
    for (const std::string& note : venv.notes) paths_.note(note);
    if (const fs::path base = base_python(venv); !base.empty()) {
      paths_.take_link(base.parent_path(), base.filename().string(), kGuestPython);
    }
    return {};
  }

  // `-m NAME`: of the environment, the current directory or the standard library.
  void check_module(const Venv* venv) {
    const std::string& module = invocation_.module;
    if (module.empty() || (venv != nullptr && has_module(*venv, module))) return;
    if (has_module(context_.cwd, module)) return take_module(module);
    if (is_standard_module(module)) return;
    plan_.not_found = "python3 -m " + module +
                      ": neither in the standard library nor in the current directory: install it "
                      "into an environment (python3.11 -m venv DIR) and name DIR/bin/python";
  }

  void take_module(const std::string& module) {
    if (places_.is_forbidden(context_.cwd)) {
      paths_.note("module " + module + " lies in " + context_.cwd.string() +
                  ", which does not go into the guest as a whole: move it to a directory of its "
                  "own");
      return;
    }
    const fs::path root = package_root(context_.cwd, places_);
    paths_.take_folder(root.empty() ? context_.cwd : root);
  }

  // A program given by its path: a script for one of the runtimes, or what busybox's shell and the
  // kernel can run.
  Result<void> by_file() {
    const fs::path file = place_of(words_[0]);
    std::error_code code;
    const bool exists = fs::is_regular_file(file, code);
    if (!exists && !is_system(file)) return not_found(file);
    plan_.image = recipe("busybox");
    invocation_.programs = {0};
    const Script script = exists ? read_script(file) : Script{};
    if (const std::optional<Venv> venv = find_venv(file, places_))
      return by_console_script(*venv, file, script);
    if (script.runtime == Runtime::kPython) return by_python(script.interpreter, 0);
    if (script.runtime == Runtime::kNode) {
      words_.insert(words_.begin(), "node");
      return by_node();
    }
    if (fs::path(script.interpreter).filename() == "bash") plan_.image = recipe("python");
    if (!is_system(file)) {
      if (exists && script.interpreter.empty()) choose_for_program(file);
      return {};
    }
    // The guest's own.
    if (is_system_bin(file)) plan_.not_found = why_not_runnable(file.filename().string());
    arguments_from_ = 1;
    read_words(runtime_of(file.filename()));
    if (runtime_ == Runtime::kShell) choose_for_shell(file.filename());
    return {};
  }

  // A compiled program: one that is linked dynamically needs the libraries of glibc, which are in
  // the images of node and python.
  void choose_for_program(const fs::path& file) {
    const ElfNeeds needs = read_elf_needs(fs::canonical(file));
    if (needs.kind == ElfNeeds::Kind::kMusl) {
      plan_.not_found = file.string() +
                        ": is linked with musl, which no image of ours has: link it statically, or "
                        "`thimble image build` a root file system that has it, for --image";
    } else if (needs.kind == ElfNeeds::Kind::kForeign) {
      plan_.not_found = file.string() + ": is a program for another kind of processor";
    }
    if (needs.kind != ElfNeeds::Kind::kGlibc || needs.needed.empty()) return;
    plan_.image = recipe("python");
    std::string missing;
    for (const std::string& library : needs.needed) {
      if (!is_in_recipes(library)) missing += (missing.empty() ? "" : ", ") + library;
    }
    if (missing.empty()) return;
    paths_.note(
        file.string() + ": needs " + missing +
        ", which the image may not have: if it fails for that, name an image that does with "
        "--image");
  }

  // A command that was installed into an environment: its first line names the environment's own
  // python.
  Result<void> by_console_script(const Venv& venv, const fs::path& file, const Script& script) {
    words_[0] = (venv.root / "bin" / file.filename()).string();
    const bool by_python = script.runtime == Runtime::kPython;
    if (by_python) {
      use_python((venv.root / "bin/python").string(), 0);
    } else {
      plan_.image = recipe("python");
    }
    // It is in the environment, and needs no folder around.
    arguments_from_ = by_python ? 2 : 1;
    invocation_ = {};
    return add_venv(venv);
  }

  Result<void> by_name() {
    plan_.image = recipe("busybox");
    plan_.not_found = why_not_runnable(words_[0]);
    arguments_from_ = 1;
    read_words(runtime_of(words_[0]));
    if (runtime_ == Runtime::kShell) choose_for_shell(words_[0]);
    return {};
  }

  // A shell finds what its line names in the image only. bash is in those of node and python.
  void choose_for_shell(const std::string& shell) {
    std::string line;
    for (const std::size_t i : invocation_.code) line += words_[i];
    const bool python = line.find("python") != std::string::npos;
    const bool node = line.find("node") != std::string::npos;
    if (python || node || shell == "bash")
      plan_.image = recipe(node && !python ? "node" : "python");
    for (const char* fetcher : {"npx ", "uvx "}) {
      if (!line.starts_with(fetcher) && !line.contains(std::string(" ") + fetcher)) continue;
      plan_.not_found = shell + ": the image has no " + fetcher +
                        "for a shell's line: write what it runs as the command itself, after --";
    }
  }

  Result<void> not_found(const fs::path& program) {
    if (plan_.image.name.empty()) plan_.image = recipe("busybox");
    plan_.not_found = program.string() + ": there is no such program here";
    return {};
  }

  void read_words(Runtime runtime) {
    runtime_ = runtime;
    invocation_ = read_invocation(runtime, words_);
  }

  fs::path place_of(const std::string& word) const {
    return (context_.cwd / word).lexically_normal();
  }

  Result<void> take_paths() {
    if (!plan_.not_found.empty() && invocation_.module.empty()) return {};
    const bool node = runtime_ == Runtime::kNode;
    for (const std::size_t i : invocation_.programs) {
      if (Result<void> taken = paths_.take_program(i, words_[i], node); !taken) return taken;
    }
    const std::size_t script = invocation_.script;
    if (context_.image.empty() && script != 0 && !paths_.has(script) &&
        !is_system(place_of(words_[script]))) {
      return not_found(place_of(words_[script]));
    }
    for (std::size_t i = 0; i < before_.size(); ++i) {
      if (Result<void> taken = paths_.take(kBefore + i, before_[i]); !taken) return taken;
    }
    if (const std::string why = missing_entry_of_script(); !why.empty()) plan_.not_found = why;
    for (std::size_t i = arguments_from_; i < words_.size(); ++i) {
      if (is_program(i) || contains(invocation_.code, i)) continue;
      if (Result<void> taken = paths_.take(i, words_[i]); !taken) return taken;
    }
    return {};
  }

  // Of a directory that is to be run.
  std::string missing_entry_of_script() const {
    const std::size_t script = invocation_.script;
    std::error_code code;
    if (!context_.image.empty() || script == 0) return {};
    const fs::path place = place_of(words_[script]);
    return fs::is_directory(place, code) ? missing_entry(runtime_, place) : std::string();
  }

  bool is_program(std::size_t i) const { return contains(invocation_.programs, i); }

  Result<Plan> finish() {
    Result<std::vector<HostPath>> mounts = paths_.mounts();
    if (!mounts) return std::unexpected(mounts.error());
    plan_.mounts = std::move(*mounts);
    // Somewhere in what was named there may be such a module.
    if (!plan_.mounts.empty() && !invocation_.module.empty()) plan_.not_found.clear();
    plan_.workdir = paths_.workdir();
    for (std::size_t i = 0; i < words_.size(); ++i) {
      plan_.guest_argv.push_back(paths_.rewrite(i, words_[i]));
    }
    for (std::size_t i = 0; i < before_.size(); ++i) {
      plan_.before.push_back(paths_.rewrite(kBefore + i, before_[i]));
    }
    plan_.notes = paths_.notes();
    return std::move(plan_);
  }

  // Numbers of words of `before_`, apart from those of the command.
  static constexpr std::size_t kBefore = std::size_t{1} << 32;

  Words before_;  // env(1) and its settings
  Words words_;   // becomes guest_argv
  const PlanContext& context_;
  Places places_;
  NamedPaths paths_;
  Runtime runtime_ = Runtime::kNone;
  Invocation invocation_;
  std::size_t arguments_from_ = 0;  // the words before it are no paths of the host
  Plan plan_;
};

// Also where it was deleted: nothing is there, but a command without paths needs none.
fs::path current_directory() {
  std::error_code code;
  const fs::path there = fs::current_path(code);
  return code ? fs::path("/nowhere") : there;
}

}  // namespace

Result<PlanContext> PlanContext::from_process(std::string image) {
  PlanContext context;
  std::error_code code;
  context.cwd = current_directory();
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') {
    context.home = fs::canonical(home, code);
    if (code) context.home = fs::path(home).lexically_normal();
  }
  const char* environment = std::getenv("VIRTUAL_ENV");
  if (environment != nullptr && *environment == '/') context.virtual_env = environment;
  context.image = std::move(image);
  return context;
}

Result<Plan> plan_command(const Words& argv, const PlanContext& context) {
  return Planner(argv, context).run();
}

}  // namespace thimble::image
