// The `thimble` command line: a table of subcommands.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <string>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "pool/vm/vmm_program.h"
#include "thimble/thimble.h"
#include "tools/cli/close_stdout.h"
#include "tools/cli/commands.h"
#include "tools/cli/env_words.h"
#include "tools/cli/options.h"
#include "tools/cli/say.h"
#include "tools/image/builder.h"

namespace {

using namespace thimble::cli;  // NOLINT: this file is its main()

struct Subcommand {
  const char* name;
  int (*run)(const Arguments&);
  const char* summary;  // nullptr: is started by another one, and shown to nobody
};

constexpr std::array kSubcommands{
    Subcommand{"run", run_command, "run a command in a VM of its own"},
    Subcommand{"prepare", prepare_command,
               "build what `run` would need for a command, ahead of it"},
    Subcommand{"template", template_command, "freeze a server that is up, to be cloned"},
    Subcommand{"launch", launch_command, "start a VM that runs on by itself"},
    Subcommand{"launch-many", launch_many_command, "… and many of them"},
    Subcommand{"status", status_command, "what runs"},
    Subcommand{"stop", stop_command, "end launched VMs: NAME… or --all"},
    Subcommand{"logs", logs_command, "what a launched VM wrote to stderr; -f follows"},
    Subcommand{"exec", exec_command, "run a command in a launched VM, beside its server"},
    Subcommand{"test", test_command, "ask the MCP server in a launched VM whether it answers"},
    Subcommand{"top", top_command, "what runs, live"},
    Subcommand{"daemon", daemon_command, "keep VMs ready; `run` starts it when it is needed"},
    Subcommand{"image", image_command, "build, list, inspect and remove images"},
    Subcommand{"supervise", supervise_command, nullptr},
    Subcommand{"build-image",
               [](const Arguments& words) { return thimble::image::builder_main(words); }, nullptr},
    Subcommand{"boot", boot_command, "boot a kernel with its console on the terminal"},
    Subcommand{"snapshot", snapshot_command, "save a running VM, and run VMs from there"},
    Subcommand{"doctor", doctor_command, "say what this host can do, and what would help"},
};

std::string help() {
  std::string text =
      "Usage: thimble SUBCOMMAND [options]\n\n"
      "Runs MCP servers, and any other command, each in a virtual machine of its own.\n\n"
      "Subcommands:\n";
  for (const auto& subcommand : kSubcommands) {
    if (subcommand.summary == nullptr) continue;
    text += thimble::text("  %-11s %s\n", subcommand.name, subcommand.summary);
  }
  return text +
         "\nOptions:\n"
         "  --help     this text; `thimble SUBCOMMAND --help` tells more\n"
         "  --version  the version\n\n"
         "Examples:\n"
         "  thimble run -- npx -y @modelcontextprotocol/server-everything\n"
         "  thimble prepare -- npx -y @modelcontextprotocol/server-everything\n"
         "  thimble image ls\n";
}

// A client may start `thimble` with standard descriptors closed: whatever was opened next would get
// their numbers, and be read or written as the user's.
void open_missing_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
  }
}

int main_of(const Arguments& words) {
  if (words.empty()) return explain(help().c_str()), kExitUsage;
  const std::string& word = words.front();
  if (word == "--help" || word == "-h" || word == "help") return print_text(help().c_str()), 0;
  if (word == "--version" || word == "version") return print("thimble " THIMBLE_VERSION), 0;
  for (const auto& subcommand : kSubcommands) {
    if (word == subcommand.name) return subcommand.run({words.begin() + 1, words.end()});
  }
  const bool option = word[0] == '-';
  return usage_error("thimble", (option ? "unknown option " : "unknown subcommand ") + word);
}

}  // namespace

int main(int argc, char** argv) {
  thimble::become_vmm_if_asked(argc, argv);
  open_missing_descriptors();
  ::signal(SIGCHLD, SIG_DFL);  // a parent that ignores it would keep us from reaping the VMM
  // No exception crosses our own code; what a library lets through ends here, in one line.
  try {
    const Arguments words(argv + 1, argv + argc);
    hide_env_values({argv + 1, argv + argc});
    return close_stdout(main_of(words));
  } catch (const std::exception& error) {
    say(error.what());
    return close_stdout(thimble::kExitFailure);
  }
}
