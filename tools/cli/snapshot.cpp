// `thimble snapshot save|restore|inspect`: a running VM into a folder, and back.
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "pool/template/snapshot_directory.h"
#include "tools/cli/commands.h"
#include "tools/cli/console_session.h"
#include "tools/cli/disk_option.h"
#include "tools/cli/save_socket.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

constexpr const char* kUsage =
    R"(Usage: thimble snapshot save SOCKET DIR [--stop]
       thimble snapshot restore DIR [options]
       thimble snapshot inspect DIR [--json]

Saves a running VM into a folder and runs any number of VMs from it. The folder holds all that was in
the VM's memory, secrets too.

Examples:
  thimble boot --kernel vmlinux --disk root.ext4:ro --save-socket /tmp/vm.ctl
  thimble snapshot save /tmp/vm.ctl booted          # the VM goes on; --stop ends it
  thimble snapshot restore booted --disk root.ext4:ro
  thimble snapshot inspect booted

`thimble snapshot VERB --help` tells more.
)";

// ---- save

struct SaveOptions {
  std::string socket;
  std::string directory;
  bool stop = false;
};

Result<void> save(const SaveOptions& options) {
  auto writer = SnapshotWriter::create(options.directory);
  if (!writer) return std::unexpected(writer.error());
  auto client = SaveClient::save(options.socket, writer->state(), writer->memory(), options.stop);
  if (!client) return std::unexpected(client.error());
  if (auto done = writer->commit(); !done) return done;
  return options.stop ? client->stop() : Result<void>{};
}

int save_command(const Arguments& arguments) {
  SaveOptions options;
  Options declared("thimble snapshot save",
                   "Saves a VM that was started with --save-socket into a new folder.");
  declared.add("SOCKET", options.socket, "What the VM was given as --save-socket").required();
  declared.add("DIR", options.directory, "The folder to make").required();
  declared.add_flag("--stop", options.stop, "End the VM once it is saved, without it going on");
  if (const auto status = declared.parse(arguments)) return *status;
  auto done = save(options);
  if (done) return 0;
  say(done.error().message);
  return kExitFailure;
}

// ---- restore

struct RestoreOptions {
  std::string directory;
  std::vector<std::string> disks;
  std::string vsock;
  std::string save_socket;
  bool require_confinement = false;
  bool verbose = false;
};

bool has_device(const SnapshotFacts& facts, std::string_view name) {
  return std::ranges::find(facts.devices, name) != facts.devices.end();
}

Result<ConsoleOutcome> restore(const RestoreOptions& options) {
  auto opened = open_snapshot(options.directory);
  if (!opened) return std::unexpected(opened.error());
  const SnapshotFacts& facts = opened->snapshot->facts();
  VmSpec spec;
  spec.require_confinement = options.require_confinement;
  spec.machine.memory_bytes = facts.memory_bytes;
  spec.machine.vcpus = facts.vcpus;
  spec.machine.entropy = has_device(facts, "entropy");
  for (const std::string& file : options.disks) {
    auto disk = open_disk(file);
    if (!disk) return std::unexpected(disk.error());
    spec.machine.disks.push_back(std::move(*disk));
  }
  if (has_device(facts, "vsock")) {
    spec.machine.vsock.emplace();
    spec.machine.vsock->path = options.vsock;
  } else if (!options.vsock.empty()) {
    return fail("--vsock: the snapshot's VM has no vsock device");
  }
  spec.snapshot = std::move(opened->files);
  opened->snapshot.reset();
  return run_console(std::move(spec),
                     {.save_socket = options.save_socket, .verbose = options.verbose});
}

int restore_command(const Arguments& arguments) {
  RestoreOptions options;
  Options declared("thimble snapshot restore",
                   "Runs a VM from where it was saved, with its serial console on the terminal.");
  declared.add("DIR", options.directory, "The snapshot's folder").required();
  declared.add("--disk", options.disks,
               "FILE[:ro|rw]: the disks as they were at the save, in the same order");
  declared.add("--vsock", options.vsock, "Socket path to reach the guest's vsock ports by");
  declared.add("--save-socket", options.save_socket,
               "Socket path by which `thimble snapshot save` reaches the VM");
  declared.add_earlier("--control", "--save-socket");
  declared.add_flag("--require-confinement", options.require_confinement,
                    "Refuse to restore when this host cannot confine the VMM fully");
  declared.add_flag("-v,--verbose", options.verbose, "Tell what the machine notices");
  declared.set_footer("Ctrl-A x ends the VM. Exit status: as of `thimble boot`.");
  if (const auto status = declared.parse(arguments)) return *status;
  return report(restore(options));
}

// ---- inspect

std::string when(uint64_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  tm parts{};
  ::gmtime_r(&time, &parts);
  char out[32];
  std::strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return out;
}

void print_facts_as_json(const SnapshotFacts& facts) {
  nlohmann::ordered_json out = {
      {"created", when(facts.created)},     {"memory_bytes", facts.memory_bytes},
      {"stored_bytes", facts.stored_bytes}, {"vcpus", facts.vcpus},
      {"devices", facts.devices},           {"cpu_vendor", facts.cpu_vendor},
      {"host_kernel", facts.host_kernel},
  };
  for (const auto& part : facts.parts) {
    out["sections"].push_back(
        {{"name", part.name}, {"version", part.version}, {"bytes", part.bytes}});
  }
  print_json(out);
}

void print_facts(const SnapshotFacts& facts) {
  print("created    " + when(facts.created));
  print(text("memory     %llu MiB, %llu KiB of them stored",
             static_cast<unsigned long long>(facts.memory_bytes >> 20),
             static_cast<unsigned long long>(facts.stored_bytes >> 10)));
  print(text("CPUs       %u, %s", facts.vcpus, facts.cpu_vendor.c_str()));
  print("host       Linux " + facts.host_kernel);
  for (const std::string& device : facts.devices) print("device     " + device);
  for (const auto& part : facts.parts) {
    print(text("section    %-10s version %u, %llu bytes", part.name.c_str(), part.version,
               static_cast<unsigned long long>(part.bytes)));
  }
}

int inspect_command(const Arguments& arguments) {
  std::string directory;
  bool json = false;
  Options declared("thimble snapshot inspect",
                   "Says what a snapshot holds, after checking all of it.");
  declared.add("DIR", directory, "The snapshot's folder").required();
  declared.add_flag("--json", json, "For programs");
  if (const auto status = declared.parse(arguments)) return *status;
  const auto opened = open_snapshot(directory);
  if (!opened) {
    say(opened.error().message);
    return kExitFailure;
  }
  json ? print_facts_as_json(opened->snapshot->facts()) : print_facts(opened->snapshot->facts());
  return 0;
}

}  // namespace

int snapshot_command(const Arguments& arguments) {
  const std::string verb = arguments.empty() ? "" : arguments.front();
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (verb == "save") return save_command(rest);
  if (verb == "restore") return restore_command(rest);
  if (verb == "inspect") return inspect_command(rest);
  if (verb == "--help" || verb == "-h") return print_text(kUsage), 0;
  if (verb.empty()) return explain(kUsage), kExitUsage;
  return usage_error("thimble snapshot", "unknown verb " + verb);
}

}  // namespace thimble::cli
