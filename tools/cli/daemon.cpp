// `thimble daemon`: the process that keeps VMs ready (pool/daemon/daemon.h, docs/pool.md).
#include "pool/daemon/daemon.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "pool/daemon/daemon_client.h"
#include "pool/daemon/daemon_start.h"
#include "pool/daemon/runtime_folder.h"
#include "tools/cli/commands.h"
#include "tools/cli/host_check.h"
#include "tools/cli/reclaim_setting.h"
#include "tools/cli/say.h"
#include "tools/cli/units.h"
#include "vmm/jail/delegation.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble daemon";
constexpr off_t kMaxLog = off_t{1} << 20;
constexpr std::chrono::seconds kAnswerTimeout{10};

constexpr const char* kFooter =
    R"(Keeps VMs of templates ready and hands them to `thimble run`, which starts it when it is needed.
Serves one user, until it has not been used for a while. When it ends, every VM that it holds ends.)";

struct RawOptions {
  std::string idle_exit = "10s";
  std::string idle = "2m";
  std::string reclaim_after;
  std::string max_memory;
  std::vector<std::string> warm;  // folder of templates, name
  bool delegated = false;
  bool stop = false;
};

// One line for each event. A log in a file begins anew before it grows without end.
void log_line(const std::string& line) {
  struct stat info{};
  if (::fstat(STDERR_FILENO, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > kMaxLog) {
    [[maybe_unused]] const int cut = ::ftruncate(STDERR_FILENO, 0);
  }
  log(text("thimble-daemon[%d]: ", static_cast<int>(::getpid())), line);
}

// Several descriptors for each VM.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void declare(Options& declared, DaemonOptions& options, RawOptions& raw) {
  declared.set_usage("thimble daemon [options]");
  declared.set_footer(kFooter);
  PoolLimits& limits = options.limits;
  declared.add("--max-vms", limits.max_vms, "VMs at once, those that are ready too (512)")
      .between(1, 100000);
  declared.add("--max-vms-of-template", limits.max_vms_of_template, "… of one template (512)")
      .between(1, 100000);
  declared.add("--max-memory", raw.max_memory,
               "What all running VMs may use together (default: no limit; clones share most)");
  declared.add("--min-warm", limits.min_warm, "VMs kept ready for a template in use (1)")
      .between(0, 1000);
  declared.add("--max-warm", limits.max_warm, "… when it is claimed often (4)").between(0, 1000);
  declared.add_earlier("--min-shells", "--min-warm");
  declared.add_earlier("--max-shells", "--max-warm");
  declared.add_flag(
      "!--no-working-sets", options.working_sets,
      "Prefault nothing that clones before have touched: less memory, slower answers");
  declared.add("--reclaim-after", raw.reclaim_after,
               "VMs give their memory back when they had nothing to do for so long, until they "
               "have; or 'never' (0.5s, or THIMBLE_RECLAIM_AFTER)");
  declared.add_earlier("--rest-after", "--reclaim-after");
  declared.add("--idle", raw.idle, "Keep nothing of a template that is not used for so long (2m)");
  declared.add("--idle-exit", raw.idle_exit,
               "End after so long without anything to keep; or 'never' (10s)");
  declared.add("--warm", raw.warm, "Folder of templates and name of one to make ready at once")
      .words(2, 2);
  declared.add_flag(
      "--delegated", raw.delegated,
      "The cgroup that it is started in is its own to divide: each VM gets one there");
  declared.add_flag("--stop", raw.stop, "End the daemon that runs, and with it its VMs");
}

Result<std::optional<std::chrono::milliseconds>> reclaim_after(const RawOptions& raw) {
  if (raw.reclaim_after.empty()) return reclaim_setting();
  auto after = parse_duration_or_never(raw.reclaim_after);
  if (!after) return fail_in("--reclaim-after", after);
  return after;
}

Result<void> understand(const RawOptions& raw, DaemonOptions& options) {
  auto idle = parse_duration(raw.idle);
  if (!idle) return fail_in("--idle", idle);
  options.limits.idle = *idle;
  auto exit = parse_duration_or_never(raw.idle_exit);
  if (!exit) return fail_in("--idle-exit", exit);
  if (*exit) options.idle_exit = std::chrono::ceil<std::chrono::seconds>(**exit);
  auto reclaim = reclaim_after(raw);
  if (!reclaim) return std::unexpected(reclaim.error());
  options.reclaim_after = *reclaim;
  if (!raw.max_memory.empty()) {
    auto memory = parse_size(raw.max_memory);
    if (!memory) return fail_in("--max-memory", memory);
    options.limits.max_memory_bytes = *memory;
  }
  options.max_clients = options.limits.max_vms * 2 + 64;
  return {};
}

Result<int> stop_daemon() {
  auto folder = runtime_folder();
  if (!folder) return std::unexpected(folder.error());
  auto client = DaemonClient::connect(*folder);
  if (!client) return std::unexpected(client.error());
  if (!*client) return fail("no daemon runs");
  DaemonRequest request;
  request.op = DaemonRequest::Op::kStop;
  auto done = (*client)->ask(request, kAnswerTimeout);
  if (!done) return std::unexpected(done.error());
  return 0;
}

Result<int> serve(DaemonOptions options, const RawOptions& raw) {
  if (auto host = check_host(); !host) return std::unexpected(host.error());
  ::umask(0077);
  raise_descriptor_limit();
  if (raw.delegated) divide_delegated_cgroup();
  auto passed = socket_of_systemd();
  if (!passed) return std::unexpected(passed.error());
  std::optional<DaemonPlace> place;
  Fd listener;
  if (*passed) {
    listener = std::move(**passed);
  } else {
    auto folder = runtime_folder();
    if (!folder) return std::unexpected(folder.error());
    auto taken = DaemonPlace::take(*folder);
    if (!taken) return std::unexpected(taken.error());
    if (!*taken) return fail("a daemon runs already");
    place.emplace(std::move(**taken));
    listener = place->listener();
  }
  options.log = log_line;
  auto daemon = Daemon::create(std::move(listener), std::move(options));
  if (!daemon) return std::unexpected(daemon.error());
  if (raw.warm.size() == 2) {
    if (auto done = (*daemon)->warm({raw.warm[0], raw.warm[1]}, 1); !done)
      log_line(done.error().message);
  }
  if (auto served = (*daemon)->run(); !served) return std::unexpected(served.error());
  return 0;
}

}  // namespace

int daemon_command(const Arguments& arguments) {
  DaemonOptions options;
  RawOptions raw;
  Options declared(kName);
  declare(declared, options, raw);
  if (auto status = declared.parse(arguments)) return *status;
  if (auto understood = understand(raw, options); !understood) {
    return usage_error(kName, understood.error().message);
  }
  auto status = raw.stop ? stop_daemon() : serve(std::move(options), raw);
  if (status) return *status;
  say(status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
