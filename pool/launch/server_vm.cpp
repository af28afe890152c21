// See server_vm.h.
#include "pool/launch/server_vm.h"

#include <sys/mount.h>
#include <sys/sysinfo.h>

#include <array>
#include <cstring>

#include "devices/text.h"
#include "pool/launch/environment.h"
#include "pool/launch/guest_files.h"
#include "vmm/load/read_file.h"

namespace thimble::launch {

namespace {

// Our kernel's: no waiting for hardware that is not there, and an end of the VM on every panic.
constexpr const char* kCommandLine =
    "console=ttyS0 quiet panic=-1 reboot=k 8250.nr_uarts=1 "
    "swiotlb=noforce thimble.root=/dev/vda thimble.rootfstype=erofs";

constexpr std::chrono::milliseconds kTermGrace{5'000};

}  // namespace

Result<void> check_memory(uint64_t bytes) {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return {};
  const uint64_t total = static_cast<uint64_t>(info.totalram) * info.mem_unit;
  if (bytes <= total) return {};
  return fail(text("--memory %lluM: this host has %lluM of memory",
                   static_cast<unsigned long long>(bytes >> 20),
                   static_cast<unsigned long long>(total >> 20)));
}

Result<image::Prepared> prepare_server(const ServerConfig& config,
                                       const std::function<Result<void>()>& check_host,
                                       const Say& say) {
  if (auto memory = check_memory(config.memory_bytes); !memory) {
    return std::unexpected(memory.error());
  }
  auto context = image::PlanContext::from_process(config.image);
  if (!context) return std::unexpected(context.error());
  context->user = config.user;
  auto plan = image::plan_command(config.command, *context);
  if (!plan) return std::unexpected(plan.error());
  for (const std::string& note : plan->notes) say(note);
  // A mistake in the command is told before one of the host.
  if (plan->not_found.empty()) {
    if (auto host = check_host(); !host) return std::unexpected(host.error());
  }
  auto store = image::Store::open();
  if (!store) return std::unexpected(store.error());
  auto prepared = image::prepare_plan(*store, *plan, {.progress = say});
  if (prepared && config.verbose && !prepared->image.digest.empty()) {
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

Result<VmSpec> make_vm(const ServerConfig& config, const image::Prepared& prepared) {
  VmSpec spec;
  MachineOptions& machine = spec.machine;
  machine.memory_bytes = config.memory_bytes;
  machine.vcpus = config.vcpus;
  machine.command_line = kCommandLine;
  machine.vsock.emplace();
  spec.report_console = config.verbose;
  spec.require_confinement = config.require_confinement;

  auto kernel = find_kernel(config.kernel);
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

uint32_t stdin_grace_ms(const ServerConfig& config) {
  return static_cast<uint32_t>(config.stdin_grace.value_or(std::chrono::milliseconds(0)).count());
}

Result<std::vector<std::string>> make_environment(const std::vector<std::string>& wanted,
                                                  std::map<std::string, std::string> base,
                                                  const Say& say) {
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

std::map<std::string, std::string> base_environment(const ServerConfig& config,
                                                    const image::Prepared& prepared) {
  std::map<std::string, std::string> base = prepared.env;
  if (!config.user.empty()) base.erase("HOME");
  return base;
}

Result<ServerSpec> make_server(const ServerConfig& config, const image::Prepared& prepared,
                               const Say& say) {
  ServerSpec server;
  server.arguments = prepared.argv;
  auto environment = make_environment(config.env, base_environment(config, prepared), say);
  if (!environment) return std::unexpected(environment.error());
  server.environment = std::move(*environment);
  server.workdir = config.workdir.empty() ? prepared.workdir : config.workdir;
  server.user = config.user;
  server.stdin_grace_ms = stdin_grace_ms(config);
  server.term_grace_ms = static_cast<uint32_t>(kTermGrace.count());
  return server;
}

}  // namespace thimble::launch
