// See run_options.h.
#include "tools/cli/run_options.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include "mcp-agent/stdio_bridge.h"
#include "pool/launch/environment.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble run";
constexpr std::chrono::seconds kStdinGrace{10};

constexpr const char* kFooter =
    R"(Runs CMD in a virtual machine of its own. Its stdin, stdout, stderr, signals and exit status are those
of CMD; only what --env names of the environment and what CMD names of the file system goes in.

Examples:
  thimble run -- npx -y @modelcontextprotocol/server-everything
  thimble run --env GITHUB_TOKEN -- npx -y @modelcontextprotocol/server-github
  thimble run --env-file .env --env 'NOTION_*' -- node server.js
  thimble run --memory 1G --timeout 5m -- python3 server.py
  thimble run --image busybox -- sh -c 'echo hello; uname -a'

A client's config entry:
  { "command": "thimble", "args": ["run", "--", "npx", "-y", "@modelcontextprotocol/server-memory"] }

Exit status: that of CMD; 128+N when signal N ended it; 1 instead of 0 when its output could not be
written; 124 after --timeout; 125 when the VM failed; 126 when CMD cannot be executed; 127 when the image
has no CMD.)";

// Options as text, before they are understood.
struct RawOptions {
  std::string memory;
  uint32_t vcpus = 0;
  std::string timeout;
  std::string stdin_grace;
  std::string ready_fd;
  std::string exec_fd;
  std::vector<std::string> env_files;
};

void declare(Options& declared, RunOptions& options, RawOptions& raw) {
  declared.set_usage("thimble run [options] [--] CMD [ARGS…]");
  declared.set_footer(kFooter);
  declared.add("--image", options.image,
               "Image to run in: a name, an erofs file (default: chosen by CMD)");
  declared.add("--memory", raw.memory, "Memory of the VM (default: 512M; only what is used costs)");
  declared.add("--vcpus", raw.vcpus, "CPUs of the VM (default: 1)").between(1, 8);
  declared.add("-e,--env", options.env,
               "Variable for CMD: K=V; K or 'K_*' to take the value from here");
  declared.add("--env-file", raw.env_files, "File with a variable in each line, as for --env");
  declared.add("--workdir", options.workdir, "Directory in the VM to start CMD in");
  declared.add("--user", options.user, "User in the VM: uid, name, uid:gid or name:group");
  declared.add("--timeout", raw.timeout, "End CMD after this long (30s, 5m)");
  declared.add("--stdin-grace", raw.stdin_grace,
               "After the end of stdin, end a CMD that is silent for so long; or 'never' "
               "(default: 10s when stdin is a pipe or socket, else never)");
  declared.add("--kernel", options.kernel, "Kernel to boot (default: thimble's own)");
  declared.add_flag("--require-confinement", options.require_confinement,
                    "Refuse to run when this host cannot confine the VMM fully");
  declared.add("--template", options.from_template,
               "Run a clone of this template (see thimble template) instead of a CMD");
  declared.add_flag("--no-daemon", options.no_daemon,
                    "Start the VM here; take none that the daemon keeps ready");
  declared.add_flag("--cold", options.cold, "Boot, and make no template for later runs");
  declared.add_flag("--in-memory", options.in_memory,
                    "Keep the template for later runs in memory, not on the disk");
  declared.add("--ready-fd", raw.ready_fd,
               "Write a newline to this descriptor and close it when CMD has been started");
  declared.add(
      "--exec-fd", raw.exec_fd,
      "A listening socket by which `thimble launch` lets others start commands beside CMD");
  declared.add_flag("-v,--verbose", options.verbose,
                    "Tell what happens, and show the guest's console");
}

// A variable that --env names itself comes after those of the files.
Result<void> read_env_files(const std::vector<std::string>& files, RunOptions& options) {
  std::vector<std::string> all;
  for (const std::string& file : files) {
    auto variables = launch::read_env_file(file);
    if (!variables) return std::unexpected(variables.error());
    all.insert(all.end(), variables->begin(), variables->end());
  }
  options.env.insert(options.env.begin(), all.begin(), all.end());
  return {};
}

Result<int> parse_fd(const char* option, const std::string& word) {
  int fd = -1;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), fd);
  if (error != std::errc() || end != word.data() + word.size() || fd <= STDERR_FILENO) {
    return fail(option + word + ": is no descriptor from 3 on");
  }
  return fd;
}

Result<void> understand_fds(const RawOptions& raw, RunOptions& options) {
  if (!raw.ready_fd.empty()) {
    auto fd = parse_fd("--ready-fd ", raw.ready_fd);
    if (!fd) return std::unexpected(fd.error());
    options.ready_fd = *fd;
  }
  if (!raw.exec_fd.empty()) {
    auto fd = parse_fd("--exec-fd ", raw.exec_fd);
    if (!fd) return std::unexpected(fd.error());
    options.exec_fd = *fd;
  }
  return {};
}

// What a template was made with cannot be changed in its clones.
Result<void> check_template(const RawOptions& raw, const RunOptions& options) {
  if (options.command.empty() && options.image.empty() && options.env.empty() &&
      options.workdir.empty() && options.user.empty() && options.kernel.empty() &&
      raw.memory.empty() && raw.vcpus == 0) {
    return {};
  }
  return fail("--template " + options.from_template +
              ": CMD, image, environment, directory, user, kernel, memory and CPUs are the "
              "template's");
}

Result<void> understand(const RawOptions& raw, RunOptions& options) {
  // Where nobody awaits the server, it is not one: `thimble run -- python3 job.py </dev/null`.
  options.awaits_client = input_is_a_client(STDIN_FILENO);
  if (auto names = launch::check_environment(options.env); !names) return names;
  if (auto read = read_env_files(raw.env_files, options); !read) return read;
  if (!raw.memory.empty()) {
    auto memory = parse_size(raw.memory);
    if (!memory) return fail_in("--memory", memory);
    options.memory_bytes = *memory;
  }
  if (raw.vcpus != 0) options.vcpus = raw.vcpus;
  if (!raw.timeout.empty()) {
    auto timeout = parse_duration(raw.timeout);
    if (!timeout) return fail_in("--timeout", timeout);
    if (timeout->count() == 0) return fail("--timeout: 0 would end CMD at once");
    options.timeout = *timeout;
  }
  if (raw.stdin_grace == "never") {
    options.stdin_grace = std::chrono::milliseconds(0);
  } else if (!raw.stdin_grace.empty()) {
    auto grace = parse_duration(raw.stdin_grace);
    if (!grace) return fail_in("--stdin-grace", grace);
    // 0 means "never" in the protocol; a user who writes 0 wants no waiting.
    options.stdin_grace = std::max(*grace, std::chrono::milliseconds(1));
  } else if (options.awaits_client) {
    options.stdin_grace = kStdinGrace;
  }
  if (!options.workdir.empty() && options.workdir.front() != '/') {
    return fail("--workdir " + options.workdir + ": must be an absolute path in the VM");
  }
  if (auto fds = understand_fds(raw, options); !fds) return fds;
  if (options.cold && (options.in_memory || !options.from_template.empty())) {
    return fail("--cold: goes with no template");
  }
  if (!options.from_template.empty()) return check_template(raw, options);
  if (options.command.empty() && options.image.empty()) {
    return fail("no command: write `thimble run -- CMD ARGS…`");
  }
  return {};
}

}  // namespace

void say_ready(int fd) {
  if (fd < 0) return;
  (void)!::write(fd, "\n", 1);
  ::close(fd);
}

Fd exec_listener(int fd) { return Fd(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

std::variant<RunOptions, int> parse_run(const Arguments& arguments,
                                        const std::function<void(Options&)>& declare_more) {
  RunOptions options;
  RawOptions raw;
  Options declared(kName);
  declare(declared, options, raw);
  if (declare_more) declare_more(declared);
  auto split = declared.split(arguments);
  if (auto status = declared.parse(split.options)) return *status;
  options.command = std::move(split.command);
  if (auto understood = understand(raw, options); !understood) {
    return usage_error(kName, understood.error().message);
  }
  return options;
}

}  // namespace thimble::cli
