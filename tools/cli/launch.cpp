// `thimble launch`, `launch-many`, `stop`, `logs`: VMs that run on without a terminal.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "pool/launch/environment.h"
#include "pool/launch/template_make.h"
#include "tools/cli/commands.h"
#include "tools/cli/launched.h"
#include "tools/cli/launching.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

constexpr std::chrono::seconds kStopTimeout{25};

int status_of(const Result<int>& status) {
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

// ---- launch

struct LaunchOptions {
  std::string memory;
  std::string vcpus;
  std::string command;
  std::string from_template;
  std::string prefix = "vm";
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  Arguments words;  // CMD ARGS… after "--"
};

void declare(Options& declared, LaunchOptions& options) {
  declared.add("--memory", options.memory, "Memory of the VM (default: that of thimble run)");
  declared.add("--vcpus", options.vcpus, "CPUs of the VM");
  declared.add("--command", options.command,
               "What to run, as one word: \"node server.js\"; or write it after --");
  declared.add("--template", options.from_template, "Run a clone of this template");
  declared.add("-e,--env", options.env,
               "Variable for CMD: K=V; K or 'K_*' to take the value from here");
  declared.add("--env-file", options.env_files, "File with a variable in each line, as for --env");
}

// What in the words of the command line does not go together.
Result<void> check_words(const LaunchOptions& options) {
  const bool words = !options.words.empty();
  if (words && !options.command.empty())
    return fail("name CMD by --command or after --, not by both");
  if ((words || !options.command.empty()) && !options.from_template.empty()) {
    return fail("--template has its command already");
  }
  return launch::check_environment(options.env);
}

// The arguments for `thimble run`. Without a command the name is a template's.
Result<Arguments> run_arguments(const LaunchOptions& options, const std::string& name) {
  Arguments command = options.words;
  if (!options.command.empty()) command = split_words(options.command);
  std::string from_template = options.from_template;
  if (command.empty() && from_template.empty()) from_template = name;
  if (!from_template.empty() && (!options.memory.empty() || !options.vcpus.empty())) {
    return fail("--memory, --vcpus: those of template " + from_template + " cannot be changed");
  }
  // A server whose client has gone waits for the next one.
  Arguments arguments{"--stdin-grace", "never"};
  if (!options.memory.empty()) arguments.insert(arguments.end(), {"--memory", options.memory});
  if (!options.vcpus.empty()) arguments.insert(arguments.end(), {"--vcpus", options.vcpus});
  for (const std::string& one : options.env) arguments.insert(arguments.end(), {"--env", one});
  for (const std::string& file : options.env_files) {
    std::error_code code;
    arguments.insert(arguments.end(),
                     {"--env-file", std::filesystem::absolute(file, code).string()});
  }
  if (!from_template.empty()) {
    auto store = launch::open_templates_with(from_template);
    if (!store) return std::unexpected(store.error());
    if (auto facts = store->facts(from_template); !facts) return std::unexpected(facts.error());
    arguments.insert(arguments.end(), {"--template", from_template});
    return arguments;
  }
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), command.begin(), command.end());
  return arguments;
}

Result<Launching> launch(const LaunchOptions& options, const std::string& name) {
  auto arguments = run_arguments(options, name);
  if (!arguments) return std::unexpected(arguments.error());
  auto launched = Launched::make(name);
  if (!launched) return std::unexpected(launched.error());
  return start_launching(std::move(*launched), *arguments);
}

// Name (or number) first, options after it, CMD after "--".
std::optional<int> parse(Options& declared, LaunchOptions& options, const Arguments& arguments,
                         const char* what, std::string& first) {
  if (arguments.empty() || (arguments.front().starts_with('-') && arguments.front() != "--help" &&
                            arguments.front() != "-h")) {
    return usage_error(declared.name(), std::string("it needs ") + what);
  }
  const bool help = arguments.front().starts_with('-');
  if (!help) first = arguments.front();
  auto split = declared.split({arguments.begin() + (help ? 0 : 1), arguments.end()});
  options.words = std::move(split.command);
  if (auto status = declared.parse(split.options)) return status;
  auto fits = check_words(options);
  return fits ? std::nullopt : std::optional(usage_error(declared.name(), fits.error().message));
}

Result<int> launch_main(const Arguments& arguments) {
  LaunchOptions options;
  Options declared("thimble launch");
  declared.set_usage("thimble launch NAME [options] [-- CMD ARGS…]");
  declared.set_footer(
      "Starts a VM that runs on by itself: `thimble status`, `logs NAME`, `test NAME`, "
      "`stop NAME`.\nWithout CMD it is a clone of the template NAME.\nIts socket (`thimble status "
      "--json`) serves one client after another.\n\nExamples:\n"
      "  thimble launch memory -- npx -y @modelcontextprotocol/server-memory\n"
      "  thimble test memory\n  thimble stop memory");
  declare(declared, options);
  std::string name;
  if (auto status = parse(declared, options, arguments, "a NAME", name)) return *status;
  auto launching = launch(options, name);
  if (!launching) return std::unexpected(launching.error());
  if (auto up = await_server(*launching); !up) return std::unexpected(up.error());
  print(name + " runs");
  return 0;
}

// Some come up at a time: one after the other would leave processors idle, all at once would make
// all of them late. Those that boot take turns besides (boot_turn.h).
Result<int> launch_all(const LaunchOptions& options, int count) {
  constexpr size_t kAtATime = 8;
  std::deque<Launching> coming_up;
  std::string failure;
  int running = 0;
  const auto await_first = [&] {
    const std::string name = coming_up.front().launched.name();
    auto up = await_server(coming_up.front());
    coming_up.pop_front();
    if (up) {
      print(name + text(" runs (%d of %d)", ++running, count));
    } else if (failure.empty()) {
      failure = name + ": " + up.error().message;
    }
  };
  for (int i = 1; i <= count && failure.empty(); ++i) {
    const std::string name = options.prefix + "-" + std::to_string(i);
    auto launching = launch(options, name);
    if (launching) {
      coming_up.push_back(std::move(*launching));
    } else {
      failure = name + ": " + launching.error().message;
    }
    if (coming_up.size() == kAtATime) await_first();
  }
  while (!coming_up.empty()) await_first();
  if (!failure.empty()) return fail(text("%d of %d run; ", running, count) + failure);
  return 0;
}

Result<int> launch_many_main(const Arguments& arguments) {
  LaunchOptions options;
  Options declared("thimble launch-many");
  declared.set_usage("thimble launch-many N [--name PREFIX] [options] [-- CMD ARGS…]");
  declared.set_footer("Example:\n  thimble launch-many 10 --name files --template files");
  declare(declared, options);
  declared.add("--name", options.prefix, "They are called PREFIX-1 to PREFIX-N (vm)");
  std::string number;
  if (auto status = parse(declared, options, arguments, "a number", number)) return *status;
  const int count = std::atoi(number.c_str());
  if (count < 1 || count > 1000 || number.find_first_not_of("0123456789") != std::string::npos) {
    return usage_error(declared.name(), number + " is no number of VMs: 1 to 1000");
  }
  if (options.command.empty() && options.words.empty() && options.from_template.empty()) {
    return usage_error(declared.name(), "it needs --template, --command or CMD");
  }
  return launch_all(options, count);
}

// ---- stop

Result<void> stop(const Launched& launched) {
  const auto supervisor = launched.supervisor();
  if (!supervisor) return std::unexpected(supervisor.error());
  if (const auto pid = *supervisor) {
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
    if (!handle && errno != ESRCH) return fail_errno("stop " + launched.name());
    // Looked at again: the number may have been given to somebody else meanwhile.
    if (handle && launched.supervisor().value_or(pid) == pid) {
      ::syscall(SYS_pidfd_send_signal, handle.get(), SIGTERM, nullptr, 0);
      pollfd gone{handle.get(), POLLIN, 0};
      const auto timeout = std::chrono::milliseconds(kStopTimeout).count();
      if (::poll(&gone, 1, static_cast<int>(timeout)) != 1) {
        return fail(launched.name() + " does not end: kill process " + std::to_string(*pid));
      }
    }
  }
  launched.forget();
  return {};
}

Result<int> stop_main(const Arguments& arguments) {
  constexpr const char* kUsage =
      "Usage: thimble stop NAME… | --all\n\nEnds launched VMs.\n\nExample:\n  thimble stop vm-1 "
      "vm-2\n";
  if (arguments.empty()) return explain(kUsage), kExitUsage;
  if (asks_for_help(arguments)) return print_text(kUsage), 0;
  std::vector<Launched> wanted;
  if (arguments == Arguments{"--all"}) {
    auto all = Launched::all();
    if (!all) return std::unexpected(all.error());
    wanted = std::move(*all);
  } else {
    for (const std::string& name : arguments) {
      auto launched = Launched::find(name);
      if (!launched) return std::unexpected(launched.error());
      wanted.push_back(std::move(*launched));
    }
  }
  for (const Launched& one : wanted) {
    if (auto stopped = stop(one); !stopped) return std::unexpected(stopped.error());
    print(one.name() + " stopped");
  }
  return 0;
}

// ---- logs

// What is in `file` from `offset` on, which is moved behind it: a server's words, which a terminal
// must not obey. A line that is not at its end yet is left for later, or is cut when there is no
// later.
void show_from(const Fd& file, off_t& offset, bool last) {
  std::array<char, 65536> bytes{};
  ssize_t n = 0;
  while ((n = ::pread(file.get(), bytes.data(), bytes.size(), offset)) > 0) {
    std::string_view left(bytes.data(), static_cast<size_t>(n));
    const bool full = left.size() == bytes.size();
    while (!left.empty()) {
      const size_t end = left.find('\n');
      const bool whole = end != std::string_view::npos;
      const bool fills_all = full && left.size() == bytes.size();
      if (!whole && !last && !fills_all) return;
      print(left.substr(0, end));
      const size_t shown = whole ? end + 1 : left.size();
      offset += static_cast<off_t>(shown);
      left.remove_prefix(shown);
    }
  }
}

Fd open_log(const Launched& launched, const char* name) {
  const auto folder = launched.folder();
  auto file = folder ? folder->read(name) : FileResult<Fd>();
  return file ? std::move(*file) : Fd();
}

constexpr const char* kLogsHelp =
    R"(Usage: thimble logs NAME [-f|--follow]

Shows what the launched VM NAME and its server wrote to stderr; -f goes on showing it until the VM
has ended.

Example:
  thimble logs -f memory
)";

Result<int> logs_main(const Arguments& arguments) {
  if (asks_for_help(arguments)) return print_text(kLogsHelp), 0;
  std::string name;
  bool follow = false;
  for (const std::string& word : arguments) {
    if (word == "-f" || word == "--follow") {
      follow = true;
    } else if (word.starts_with('-') || !name.empty()) {
      return usage_error("thimble logs", "write: thimble logs NAME [-f]");
    } else {
      name = word;
    }
  }
  if (name.empty()) return usage_error("thimble logs", "it needs a NAME");
  auto launched = Launched::find(name);
  if (!launched) return std::unexpected(launched.error());
  off_t offset = 0;
  if (const Fd older = open_log(*launched, "log.1")) show_from(older, offset, true);
  Fd file = open_log(*launched, "log");
  if (!file) return fail(name + " has no log yet");
  offset = 0;
  show_from(file, offset, !follow);
  while (follow && std::ferror(stdout) == 0 && launched->supervisor().value_or(std::nullopt)) {
    ::poll(nullptr, 0, 200);
    show_from(file, offset, false);
    Fd newest = open_log(*launched, "log");
    struct stat now{};
    struct stat shown{};
    if (!newest || ::fstat(newest.get(), &now) != 0 || ::fstat(file.get(), &shown) != 0) break;
    if (now.st_ino == shown.st_ino) continue;
    show_from(file, offset, true);
    file = std::move(newest);  // it was begun anew
    offset = 0;
  }
  if (follow) show_from(file, offset, true);
  return 0;
}

}  // namespace

int launch_command(const Arguments& arguments) { return status_of(launch_main(arguments)); }
int launch_many_command(const Arguments& arguments) {
  return status_of(launch_many_main(arguments));
}
int stop_command(const Arguments& arguments) { return status_of(stop_main(arguments)); }
int logs_command(const Arguments& arguments) { return status_of(logs_main(arguments)); }

}  // namespace thimble::cli
