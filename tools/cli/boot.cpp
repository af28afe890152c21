// `thimble boot`: a VM with its serial console on the terminal, for people who work on kernels.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "mcp-agent/byte_flow.h"
#include "mcp-agent/server_run.h"
#include "mcp-agent/signals.h"
#include "tools/cli/commands.h"
#include "tools/cli/guest_files.h"
#include "tools/cli/host_check.h"
#include "tools/cli/say.h"
#include "tools/cli/terminal.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble boot";
constexpr int kExitGuestFailure = 1;
// How long the last output may take to arrive after the machine's end was reported.
constexpr int kDrainMs = 1000;

constexpr const char* kFooter =
    R"(Boots a kernel with its serial console on the terminal. Ctrl-A x ends the VM, Ctrl-A Ctrl-A sends
one Ctrl-A.

Examples:
  thimble boot --kernel vmlinux --initrd initrd.cpio --cmdline 'console=ttyS0 rdinit=/bin/sh'
  thimble boot --kernel vmlinux --disk root.ext4:rw --cmdline 'console=ttyS0 root=/dev/vda rw'
  thimble boot --kernel /boot/vmlinuz-6.1.0-56-cloud-amd64 --initrd initrd.img
  thimble boot --kernel vmlinux --vsock /tmp/vm.sock   # then: connect there, send "CONNECT 1024\n"

Exit status: 0 after power-off or reset; 1 after a kernel panic, a triple fault or a KVM error; 125
when the VM could not be made.)";

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
  bool verbose = false;
  bool require_confinement = false;
};

void declare(CLI::App& app, BootOptions& options) {
  app.footer(kFooter);
  app.add_option("--kernel", options.kernel,
                 "vmlinux (ELF) or vmlinuz (bzImage) (default: that of tools/kernel)");
  app.add_option("--entry", options.entry, "How the kernel is entered: auto, linux64 or pvh")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "linux64", "pvh"}));
  app.add_option("--acpi", options.acpi,
                 "on: devices by ACPI tables; off: by MP table and command line; auto: what the "
                 "kernel can read")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "on", "off"}));
  app.add_option("--initrd", options.initrd, "Initial RAM disk");
  app.add_option("--cmdline", options.command_line, "Kernel command line")->capture_default_str();
  app.add_option("--memory", options.memory, "Memory of the VM")->capture_default_str();
  app.add_option("--vcpus", options.vcpus, "CPUs of the VM (default: 1)")->check(CLI::Range(1, 8));
  app.add_option("--disk", options.disks,
                 "FILE[:ro|rw]: /dev/vda, /dev/vdb, … in order (default: ro)")
      ->allow_extra_args(false);
  app.add_option("--vsock", options.vsock, "Socket path to reach the guest's vsock ports by");
  app.add_flag("--require-confinement", options.require_confinement,
               "Refuse to boot when this host cannot confine the VMM fully");
  app.add_flag("-v,--verbose", options.verbose, "Tell what the machine notices");
}

Result<Disk> open_disk(std::string file) {
  Disk disk;
  if (file.ends_with(":rw")) disk.read_only = false;
  if (file.ends_with(":ro") || file.ends_with(":rw")) file.resize(file.size() - 3);
  disk.file = Fd(::open(file.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!disk.file) return fail_errno("--disk " + file);
  disk.name = file.substr(file.rfind('/') + 1);
  return disk;
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
  if (auto enough = check_memory(*memory); !enough) return std::unexpected(enough.error());
  auto kernel = find_kernel(options.kernel);
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

// Carries the console between the terminal and the VM process until the machine ends.
class ConsoleSession {
 public:
  ConsoleSession(VmProcess vm, Fd console, SignalSource signals, bool verbose)
      : vm_(std::move(vm)),
        typing_(::fcntl(console.get(), F_DUPFD_CLOEXEC, 3)),
        output_(Endpoint::stream(std::move(console)), Endpoint::user_output(STDOUT_FILENO, true)),
        signals_(std::move(signals)),
        verbose_(verbose) {}

  struct Outcome {
    int status = 0;
    std::string message;
  };
  Outcome loop() {
    while (!outcome_) poll_once(-1);
    // What the guest wrote last is still on its way.
    while (vm_lost_ && !output_.done() && poll_once(kDrainMs)) {
    }
    vm_.kill();
    return *outcome_;
  }

 private:
  bool poll_once(int timeout) {
    const bool listening = input_open_ && pending_ == 0 && !outcome_;
    std::array<pollfd, 6> set{pollfd{vm_.poll_fd(), POLLIN, 0},
                              {signals_.poll_fd(), POLLIN, 0},
                              {listening ? STDIN_FILENO : -1, POLLIN, 0},
                              {pending_ > 0 ? typing_.get() : -1, POLLOUT, 0},
                              output_.source_entry(),
                              output_.sink_entry()};
    const int n = ::poll(set.data(), set.size(), timeout);
    if (n < 0) return errno == EINTR;
    if (n == 0) return false;
    output_.serve(set[4].revents, set[5].revents);
    if (set[2].revents != 0) read_typed();
    if (set[3].revents != 0 || pending_ > 0) send_typed();
    if (set[1].revents != 0) on_signals();
    if (set[0].revents != 0) {
      if (const auto event = vm_.next_event()) on_event(*event);
    }
    return true;
  }

  void read_typed() {
    const ssize_t n = ::read(STDIN_FILENO, typed_.data(), typed_.size());
    if (n <= 0) {
      input_open_ = n < 0 && (errno == EINTR || errno == EAGAIN);
      return;
    }
    pending_ = escape_.filter(typed_.data(), static_cast<size_t>(n));
    if (escape_.quit()) outcome_ = Outcome{};
  }

  void send_typed() {
    const ssize_t n = ::send(typing_.get(), typed_.data(), pending_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
      pending_ = 0;
      input_open_ = false;
      return;
    }
    pending_ -= static_cast<size_t>(n);
    std::memmove(typed_.data(), typed_.data() + n, pending_);
  }

  void on_signals() {
    while (const auto signal = signals_.next()) {
      if (is_ending_signal(*signal) && !outcome_) outcome_ = Outcome{kExitSignalBase + *signal, ""};
    }
  }

  void on_event(const VmEvent& event) {
    switch (event.kind) {
      case VmEvent::Kind::kReady:
      case VmEvent::Kind::kConsole:
        return;
      case VmEvent::Kind::kExposed:
        say("the VMM is not fully confined: this host refuses " + event.text);
        return;
      case VmEvent::Kind::kNotice:
        if (verbose_) say(event.text);
        return;
      case VmEvent::Kind::kRefused:
        outcome_ = Outcome{kExitFailure, event.text};
        break;
      case VmEvent::Kind::kLost:
        outcome_ = Outcome{kExitFailure, "the VMM process died: " + event.text};
        break;
      case VmEvent::Kind::kEnded:
        outcome_ = outcome_of(event);
        break;
    }
    vm_lost_ = true;
  }

  static Outcome outcome_of(const VmEvent& event) {
    const bool asked = event.end == End::Kind::kPowerOff || event.end == End::Kind::kReset ||
                       event.end == End::Kind::kStopped;
    if (asked && !event.panicked) return {};
    return {kExitGuestFailure, event.text};
  }

  VmProcess vm_;
  Fd typing_;
  ByteFlow output_;
  SignalSource signals_;
  bool verbose_;
  EscapeFilter escape_;
  std::array<char, 512> typed_{};
  size_t pending_ = 0;
  bool input_open_ = true;
  bool vm_lost_ = false;
  std::optional<Outcome> outcome_;
};

Result<ConsoleSession::Outcome> boot(const BootOptions& options) {
  auto spec = make_vm(options);
  if (!spec) return std::unexpected(spec.error());
  auto console = make_stream_pair();
  if (!console) return std::unexpected(console.error());
  spec->console = std::move(console->second);
  auto signals = SignalSource::take_over();
  if (!signals) return std::unexpected(signals.error());
  auto vm = VmProcess::start(std::move(*spec));
  if (!vm) return std::unexpected(vm.error());
  if (::isatty(STDIN_FILENO) != 0) say("Ctrl-A x ends the VM");
  const auto raw = RawTerminal::enter(STDIN_FILENO);
  ConsoleSession session(std::move(*vm), std::move(console->first), std::move(*signals),
                         options.verbose);
  return session.loop();
}

}  // namespace

int boot_command(const Arguments& arguments) {
  BootOptions options;
  CLI::App app("", kName);
  declare(app, options);
  if (const auto status = parse_options(app, arguments)) return *status;
  auto outcome = boot(options);
  if (!outcome) outcome = ConsoleSession::Outcome{kExitFailure, outcome.error().message};
  if (!outcome->message.empty()) say(outcome->message);
  return outcome->status;
}

}  // namespace thimble::cli
