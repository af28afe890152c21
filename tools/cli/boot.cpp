// `thimble boot`: a VM with its serial console on the terminal, for people who work on kernels.
#include <fcntl.h>
#include <unistd.h>

#include "pool/launch/guest_files.h"
#include "pool/launch/server_vm.h"
#include "tools/cli/commands.h"
#include "tools/cli/console_session.h"
#include "tools/cli/disk_option.h"
#include "tools/cli/host_check.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble boot";

constexpr const char* kFooter =
    R"(Boots a kernel with its serial console on the terminal. Ctrl-A x ends the VM, Ctrl-A Ctrl-A sends
one Ctrl-A.

Examples:
  thimble boot --kernel vmlinux --initrd initrd.cpio --cmdline 'console=ttyS0 rdinit=/bin/sh'
  thimble boot --kernel vmlinux --disk root.ext4:rw --cmdline 'console=ttyS0 root=/dev/vda rw'
  thimble boot --kernel /boot/vmlinuz-6.1.0-56-cloud-amd64 --initrd initrd.img
  thimble boot --kernel vmlinux --vsock /tmp/vm.sock   # then: connect there, send "CONNECT 1024\n"

  thimble boot --kernel vmlinux --save-socket /tmp/vm.ctl
  thimble snapshot save /tmp/vm.ctl DIR   # meanwhile

A disk is locked: one VM that writes, or any number that read.

Exit status: 0 after power-off or reset; 1 after a kernel panic, a triple fault or a KVM error, or when
the console's output could not be written; 125 when the VM could not be made.)";

struct BootOptions {
  std::string kernel;
  std::string entry = "auto";
  std::string acpi = "auto";
  std::string initrd;
  std::string command_line = "console=ttyS0 panic=-1 reboot=k";
  std::string memory = "512M";
  unsigned vcpus = 1;
  std::vector<std::string> disks;
  std::string vsock;
  std::string save_socket;
  std::string debug;  // a file, "-" for stderr, empty for none
  bool verbose = false;
  bool require_confinement = false;
};

void declare(Options& declared, BootOptions& options) {
  declared.set_footer(kFooter);
  declared.add("--kernel", options.kernel,
               "vmlinux (ELF) or vmlinuz (bzImage) (default: thimble's own)");
  declared.add("--entry", options.entry, "How the kernel is entered: auto, linux64 or pvh")
      .show_default()
      .one_of({"auto", "linux64", "pvh"});
  declared
      .add("--acpi", options.acpi,
           "on: devices by ACPI tables; off: by MP table and command line; auto: what the "
           "kernel can read")
      .show_default()
      .one_of({"auto", "on", "off"});
  declared.add("--initrd", options.initrd, "Initial RAM disk");
  declared.add("--cmdline", options.command_line, "Kernel command line").show_default();
  declared.add("--memory", options.memory, "Memory of the VM").show_default();
  declared.add("--vcpus", options.vcpus, "CPUs of the VM (default: 1)").between(1, 8);
  declared.add("--disk", options.disks,
               "FILE[:ro|rw]: /dev/vda, /dev/vdb, … in order (default: ro)");
  declared.add("--vsock", options.vsock, "Socket path to reach the guest's vsock ports by");
  declared.add("--save-socket", options.save_socket,
               "Socket path by which `thimble snapshot save` reaches the VM");
  declared.add_earlier("--control", "--save-socket");
  declared.add_flag("--require-confinement", options.require_confinement,
                    "Refuse to boot when this host cannot confine the VMM fully");
  declared.add_flag(
      "--debug", options.debug, "-",
      "Write a line for each exit, notification and interrupt, and tables at the end, to "
      "stderr, or with --debug=FILE to a file");
  declared.add_flag("-v,--verbose", options.verbose, "Tell what the machine notices");
}

// Lines are appended whole, whoever else writes to the same file.
Result<Fd> open_trace(const std::string& file) {
  Fd out(file == "-"
             ? ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
             : ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666));
  if (!out) return fail_errno("--debug=" + file);
  return out;
}

KernelEntry entry_of(const std::string& word) {
  if (word == "linux64") return KernelEntry::kLinux64;
  return word == "pvh" ? KernelEntry::kPvh : KernelEntry::kAuto;
}

Acpi acpi_of(const std::string& word) {
  if (word == "on") return Acpi::kOn;
  return word == "off" ? Acpi::kOff : Acpi::kAuto;
}

Result<VmSpec> make_vm(const BootOptions& options) {
  VmSpec spec;
  auto memory = parse_size(options.memory);
  if (!memory) return fail_in("--memory", memory);
  if (auto enough = launch::check_memory(*memory); !enough) return std::unexpected(enough.error());
  auto kernel = launch::find_kernel(options.kernel);
  if (!kernel) return std::unexpected(kernel.error());
  if (!options.initrd.empty() && ::access(options.initrd.c_str(), R_OK) != 0) {
    return fail_errno("--initrd " + options.initrd);
  }
  spec.require_confinement = options.require_confinement;
  spec.machine.kernel = kernel->string();
  spec.machine.entry = entry_of(options.entry);
  spec.machine.acpi = acpi_of(options.acpi);
  spec.machine.initrd = options.initrd;
  spec.machine.command_line = options.command_line;
  if (!options.debug.empty()) {
    auto trace = open_trace(options.debug);
    if (!trace) return std::unexpected(trace.error());
    spec.trace = std::move(*trace);
  }
  spec.machine.memory_bytes = *memory;
  spec.machine.vcpus = options.vcpus;
  for (const std::string& file : options.disks) {
    auto disk = open_disk(file);
    if (!disk) return std::unexpected(disk.error());
    spec.machine.disks.push_back(std::move(*disk));
  }
  if (!options.vsock.empty()) {
    spec.machine.vsock.emplace();
    spec.machine.vsock->path = options.vsock;
  }
  return spec;
}

Result<ConsoleOutcome> boot(const BootOptions& options) {
  auto spec = make_vm(options);
  if (!spec) return std::unexpected(spec.error());
  return run_console(std::move(*spec),
                     {.save_socket = options.save_socket, .verbose = options.verbose});
}

}  // namespace

int boot_command(const Arguments& arguments) {
  BootOptions options;
  Options declared(kName);
  declare(declared, options);
  if (const auto status = declared.parse(arguments)) return *status;
  auto outcome = boot(options);
  return report(outcome);
}

}  // namespace thimble::cli
