// `thimble exec`: a command in a launched VM, beside its server.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "mcp-agent/server_run.h"
#include "pool/launch/environment.h"
#include "tools/cli/commands.h"
#include "tools/cli/exec_session.h"
#include "tools/cli/launched.h"
#include "tools/cli/say.h"
#include "tools/cli/terminal_size.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr const char* kFooter =
    R"(Runs CMD in the VM that `thimble launch NAME` started, in its server's file system, with its
environment, directory and user. It ends with this command, and with the VM. Signals go to CMD.

Examples:
  thimble exec memory -- ls -l /tmp
  thimble exec -it memory -- sh
  tar c notes | thimble exec -i memory -- tar x -C /tmp

Exit status: that of CMD; 128+N when signal N ended it; 125 when thimble or the VM failed; 126 when CMD
cannot be executed; 127 when the image has no CMD.)";

struct ExecOptions {
  bool interactive = false;
  bool terminal = false;
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  std::string workdir;
  std::string user;
};

void declare(Options& declared, ExecOptions& options) {
  declared.set_usage("thimble exec [options] NAME [--] CMD [ARGS…]");
  declared.set_footer(kFooter);
  declared.add_flag("-i,--interactive", options.interactive,
                    "CMD reads what comes on stdin; otherwise it finds an empty one");
  declared.add_flag("-t,--tty", options.terminal,
                    "CMD has a terminal of its own, as large as this one");
  declared.add("-e,--env", options.env,
               "Variable for CMD: K=V; K or 'K_*' to take the value from here");
  declared.add("--env-file", options.env_files, "File with a variable in each line, as for --env");
  declared.add("--workdir", options.workdir, "Directory in the VM to start CMD in");
  declared.add("--user", options.user, "User in the VM: uid, name, uid:gid or name:group");
}

Result<std::vector<std::string>> environment_of(const ExecOptions& options) {
  std::vector<std::string> wanted;
  for (const std::string& file : options.env_files) {
    auto variables = launch::read_env_file(file);
    if (!variables) return std::unexpected(variables.error());
    wanted.insert(wanted.end(), variables->begin(), variables->end());
  }
  wanted.insert(wanted.end(), options.env.begin(), options.env.end());
  if (auto names = launch::check_environment(wanted); !names) {
    return std::unexpected(names.error());
  }
  std::map<std::string, std::string> environment;
  auto missing = launch::add_environment(wanted, environment);
  if (!missing) return std::unexpected(missing.error());
  for (const std::string& name : *missing) say("--env " + name + ": is not set here: left out");
  // What programs draw with is the terminal's business, not the server's.
  const char* term = std::getenv("TERM");
  if (options.terminal) environment.try_emplace("TERM", term != nullptr ? term : "xterm");
  std::vector<std::string> all;
  all.reserve(environment.size());
  for (const auto& [name, value] : environment) {
    all.push_back(name);
    all.back().append("=").append(value);
  }
  return all;
}

Result<void> check(const ExecOptions& options) {
  if (!options.workdir.empty() && options.workdir.front() != '/') {
    return fail("--workdir " + options.workdir + ": must be an absolute path in the VM");
  }
  if (options.terminal && options.interactive && ::isatty(STDIN_FILENO) == 0) {
    return fail("-t with -i: stdin is no terminal: leave out -t");
  }
  return {};
}

Result<Fd> connect(const std::string& name) {
  auto launched = Launched::find(name);
  if (!launched) return std::unexpected(launched.error());
  const auto folder = launched->folder();
  if (!folder) return std::unexpected(folder.error());
  auto socket = connect_in(*folder, "exec", SOCK_SEQPACKET);
  if (!socket) return std::unexpected(socket.error());
  if (*socket) return std::move(**socket);
  return fail(name + " takes no commands: its VM has ended, or an earlier thimble launched it");
}

Result<int> exec(const ExecOptions& options, std::vector<std::string> environment,
                 const std::string& name, Arguments command) {
  auto socket = connect(name);
  if (!socket) return std::unexpected(socket.error());
  ExecRequest request{.command = std::move(command),
                      .environment = std::move(environment),
                      .workdir = options.workdir,
                      .user = options.user,
                      .terminal = std::nullopt};
  if (options.terminal) request.terminal = terminal_size();
  return run_exec(std::move(*socket), request, options.interactive);
}

}  // namespace

int exec_command(const Arguments& arguments) {
  ExecOptions options;
  Options declared("thimble exec");
  declare(declared, options);
  auto split = declared.split(arguments);
  if (auto status = declared.parse(split.options)) return *status;
  if (split.command.empty()) return usage_error(declared.name(), "it needs the NAME of a VM");
  const std::string name = split.command.front();
  Arguments command(split.command.begin() + 1, split.command.end());
  if (!command.empty() && command.front() == "--") command.erase(command.begin());
  if (command.empty()) return usage_error(declared.name(), "no command: write it after " + name);
  if (auto fits = check(options); !fits) {
    return usage_error(declared.name(), fits.error().message);
  }
  auto environment = environment_of(options);
  if (!environment) return usage_error(declared.name(), environment.error().message);
  auto status = exec(options, std::move(*environment), name, std::move(command));
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
