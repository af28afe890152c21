// See server_vm.h.
#include "tools/cli/server_vm.h"

#include <sys/mount.h>

#include <array>
#include <cstring>

#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "tools/cli/environment.h"
#include "tools/cli/guest_files.h"
#include "tools/cli/host_check.h"
#include "tools/cli/say.h"
#include "vmm/load/read_file.h"

namespace thimble::cli {

namespace {

// Our kernel's: no waiting for hardware that is not there, and an end of the VM on every panic.
constexpr const char* kCommandLine =
    "console=ttyS0 quiet panic=-1 reboot=k 8250.nr_uarts=1 "
    "swiotlb=noforce thimble.root=/dev/vda thimble.rootfstype=erofs";

constexpr std::chrono::milliseconds kStdinGrace{10'000};
constexpr std::chrono::milliseconds kTermGrace{5'000};

}  // namespace

Result<image::Prepared> prepare_server(const RunOptions& options) {
  if (auto memory = check_memory(options.memory_bytes); !memory) {
    return std::unexpected(memory.error());
  }
  auto context = image::PlanContext::from_process(options.image);
  if (!context) return std::unexpected(context.error());
  context->user = options.user;
  auto plan = image::plan_command(options.command, *context);
  if (!plan) return std::unexpected(plan.error());
  for (const std::string& note : plan->notes) say(note);
  // A mistake in the command is told before one of the host.
  if (plan->not_found.empty()) {
    if (auto host = check_host(); !host) return std::unexpected(host.error());
  }
  auto store = image::Store::open();
  if (!store) return std::unexpected(store.error());
  auto prepared = image::prepare_plan(*store, *plan, {.progress = say});
  if (prepared && options.verbose && !prepared->image.digest.empty()) {
    say("image " + store->title(prepared->image));
  }
  return prepared;
}

Result<Disk> open_disk(const std::filesystem::path& path, std::string name) {
  Disk disk;
  auto file = open_image(path);
  if (!file) return std::unexpected(file.error());
  disk.file = std::move(*file);
  disk.name = std::move(name);
  return disk;
}

Result<VmSpec> make_vm(const RunOptions& options, const image::Prepared& prepared) {
  VmSpec spec;
  MachineOptions& machine = spec.machine;
  machine.memory_bytes = options.memory_bytes;
  machine.vcpus = options.vcpus;
  machine.command_line = kCommandLine;
  machine.vsock.emplace();
  spec.report_console = options.verbose;
  spec.require_confinement = options.require_confinement;

  auto kernel = find_kernel(options.kernel);
  if (!kernel) return std::unexpected(kernel.error());
  machine.kernel = kernel->string();
  auto init = init_file();
  if (!init) return std::unexpected(init.error());
  machine.initrd = "guest-init";
  machine.initrd_file = std::move(*init);

  auto root = open_disk(prepared.image.erofs, "root");
  if (!root) return std::unexpected(root.error());
  machine.disks.push_back(std::move(*root));
  for (size_t i = 0; i < prepared.mounts.size(); ++i) {
    auto disk = open_disk(prepared.mounts[i].erofs, text("mount%zu", i));
    if (!disk) return std::unexpected(disk.error());
    machine.disks.push_back(std::move(*disk));
  }
  return spec;
}

// The disks after the root, in their order: /dev/vdb, /dev/vdc, …
Result<std::vector<protocol::Mount>> make_mounts(const image::Prepared& prepared) {
  if (prepared.mounts.size() > protocol::kMaxMounts) {
    return fail(text("%zu directories are named by the command; a VM takes %u",
                     prepared.mounts.size(), protocol::kMaxMounts));
  }
  std::vector<protocol::Mount> out;
  for (const auto& [erofs, guest] : prepared.mounts) {
    protocol::Mount mount{};
    const char letter = static_cast<char>('b' + out.size());
    if (guest.size() >= sizeof mount.target) return fail(guest + ": this path is too long");
    std::snprintf(mount.source, sizeof mount.source, "/dev/vd%c", letter);
    std::memcpy(mount.fstype, "erofs", sizeof "erofs");
    std::memcpy(mount.target, guest.c_str(), guest.size() + 1);
    mount.flags = MS_RDONLY | MS_NOSUID | MS_NODEV;
    out.push_back(mount);
  }
  return out;
}

uint32_t stdin_grace_ms(const RunOptions& options) {
  const auto by_kind = input_is_a_client(STDIN_FILENO) ? kStdinGrace : std::chrono::milliseconds(0);
  return static_cast<uint32_t>(options.stdin_grace.value_or(by_kind).count());
}

Result<std::vector<std::string>> make_environment(const std::vector<std::string>& wanted,
                                                  std::map<std::string, std::string> base) {
  auto missing = add_environment(wanted, base);
  if (!missing) return std::unexpected(missing.error());
  for (const std::string& name : *missing) say("--env " + name + ": not set here, left out");
  base.erase(image::kReseedsVariable);  // for us, not for the server
  std::vector<std::string> environment;
  environment.reserve(base.size());
  for (const auto& [name, value] : base) {
    std::string variable(name);
    variable += '=';
    variable += value;
    environment.push_back(std::move(variable));
  }
  return environment;
}

std::map<std::string, std::string> base_environment(const RunOptions& options,
                                                    const image::Prepared& prepared) {
  std::map<std::string, std::string> base = prepared.env;
  if (!options.user.empty()) base.erase("HOME");
  return base;
}

Result<ServerSpec> make_server(const RunOptions& options, const image::Prepared& prepared) {
  ServerSpec server;
  server.arguments = prepared.argv;
  auto environment = make_environment(options.env, base_environment(options, prepared));
  if (!environment) return std::unexpected(environment.error());
  server.environment = std::move(*environment);
  server.workdir = options.workdir.empty() ? prepared.workdir : options.workdir;
  server.user = options.user;
  server.stdin_grace_ms = stdin_grace_ms(options);
  server.term_grace_ms = static_cast<uint32_t>(kTermGrace.count());
  return server;
}

}  // namespace thimble::cli
