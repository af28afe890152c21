// See vm_process.h. This side: the parent. The other: vm_main.h.
#include "pool/vm/vm_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <utility>

#include "devices/printable.h"
#include "devices/text.h"
#include "pool/vm/console_tail.h"
#include "pool/vm/spec_message.h"
#include "pool/vm/thread_filters.h"
#include "pool/vm/vm_main.h"
#include "pool/vm/vmm_program.h"
#include "vmm/kvm.h"

namespace thimble {

namespace {

// A line for the user, and the longest text that one end may have (registers follow the message).
constexpr size_t kLineLimit = 400;
constexpr size_t kEndLimit = 4000;

// How long a process that closed its VM channel may take to be gone.
constexpr std::chrono::milliseconds kDyingTimeout{2000};

// The lines of `message` (registers follow what happened) in one, of printable text.
std::string in_one_line(std::string_view message) {
  std::string out;
  for (size_t at = 0; at < message.size();) {
    const size_t end = std::min(message.find('\n', at), message.size());
    const size_t begin = std::min(message.find_first_not_of(' ', at), end);
    if (!out.empty() && begin < end) out += "; ";
    out += printable(message.substr(begin, end - begin), kEndLimit);
    at = end + 1;
  }
  return out;
}

Result<void> open_one(const char* what, const std::string& path, Fd& file) {
  if (file || path.empty()) return {};
  // Not blocking, so that a FIFO is refused by the VMM instead of waited for.
  file = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(text("open %s %s", what, path.c_str()));
  return {};
}

Result<void> open_files(MachineOptions& machine) {
  if (auto done = open_one("kernel", machine.kernel, machine.kernel_file); !done) return done;
  if (auto done = open_one("initrd", machine.initrd, machine.initrd_file); !done) return done;
  if (machine.kvm) return {};
  auto kvm = Kvm::open_device();
  if (!kvm) return std::unexpected(kvm.error());
  machine.kvm = std::move(*kvm);
  return {};
}

// It writes to disks that may be written, and snapshots.
Limits limits_of(const MachineOptions& machine) {
  constexpr uint64_t kSnapshotOnTop = uint64_t{64} << 20;
  Limits limits{.memory_bytes = machine.memory_bytes,
                .file_bytes = machine.memory_bytes + kSnapshotOnTop};
  for (const Disk& disk : machine.disks) {
    struct stat info{};
    if (disk.read_only || ::fstat(disk.file.get(), &info) != 0) continue;
    limits.file_bytes = std::max(limits.file_bytes, static_cast<uint64_t>(info.st_size));
  }
  return limits;
}

}  // namespace

Result<std::pair<Fd, Fd>> make_stream_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair");
  }
  std::pair<Fd, Fd> pair{Fd(ends[0]), Fd(ends[1])};
  if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a stream non-blocking");
  return pair;
}

Result<VmProcess> VmProcess::start(VmSpec spec) {
  if (auto opened = open_files(spec.machine); !opened) return std::unexpected(opened.error());
  std::unique_ptr<UnixListener> listener;
  std::string vsock_path;
  if (spec.machine.vsock && !spec.machine.vsock->path.empty()) {
    vsock_path = std::exchange(spec.machine.vsock->path, {});
    auto bound = UnixListener::bind(vsock_path);
    if (!bound) return std::unexpected(bound.error());
    listener = std::make_unique<UnixListener>(std::move(*bound));
    spec.machine.vsock->listener = listener->take();
  }
  auto channel = make_vm_channel();
  if (!channel) return std::unexpected(channel.error());
  // It is there already when the process asks for it.
  if (auto sent = send_spec(channel->first.get(), spec); !sent)
    return std::unexpected(sent.error());
  auto program = vmm_program();
  if (!program) return std::unexpected(program.error());
  auto child = BoundChild::start_program(*program, kVmmName, std::array{channel->second.get()},
                                         {.limits = limits_of(spec.machine)});
  if (!child) return std::unexpected(child.error());
  VmProcess process(std::move(*child), std::move(channel->first));
  process.vsock_ = std::move(listener);
  process.vsock_path_ = std::move(vsock_path);
  return process;
}

Result<VmProcess> VmProcess::start(const Body& body, std::span<const int> kept, bool keep_stderr) {
  auto channel = make_vm_channel();
  if (!channel) return std::unexpected(channel.error());
  const int far_end = channel->second.get();
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(far_end);
  auto child = BoundChild::start([&body, far_end] { return body(far_end); }, all, keep_stderr);
  if (!child) return std::unexpected(child.error());
  return VmProcess(std::move(*child), std::move(channel->first));
}

Result<VmProcess> VmProcess::start_jailed(const JailedVmBody& body, std::span<const int> kept,
                                          const JailOptions& options) {
  auto channel = make_vm_channel();
  if (!channel) return std::unexpected(channel.error());
  const int far_end = channel->second.get();
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(far_end);
  auto child = BoundChild::start_jailed(
      [&body, far_end](const Confinement& confinement) { return body(far_end, confinement); }, all,
      options);
  if (!child) return std::unexpected(child.error());
  return VmProcess(std::move(*child), std::move(channel->first));
}

VmProcess VmProcess::adopt(HandedOver vm) {
  VmProcess process(std::nullopt, std::move(vm.channel));
  process.adopted_ = std::move(vm);
  return process;
}

std::optional<VmEvent> VmProcess::next_event() {
  if (!adopted_.exposed.empty()) {
    VmEvent event;
    event.kind = VmEvent::Kind::kExposed;
    event.text = printable(std::exchange(adopted_.exposed, {}), kLineLimit);
    return event;
  }
  while (channel_) {
    auto received = receive_vm_message(channel_.get(), VmChannelSide::kParent, /*wait=*/false);
    if (std::holds_alternative<VmChannelEmpty>(received)) return std::nullopt;
    if (const auto* error = std::get_if<Error>(&received)) {
      return lost("it broke the VM channel's rules: " + error->message);
    }
    if (std::holds_alternative<VmChannelClosed>(received)) return lost("");
    auto& message = std::get<VmMessage>(received);
    if (message.type == VmMessageType::kOpen) {
      open_for_guest(message.value);
      return std::nullopt;  // one at a time: a VMM that floods must not hold up everything else
    }
    if (message.type != VmMessageType::kTail) return take(std::move(message));
    // More would keep this loop going for as long as the process likes.
    if (tail_.size() >= ConsoleTail::kMaxLines) return lost("its console has too many last lines");
    tail_.push_back(printable(message.text, kLineLimit));
  }
  return std::nullopt;
}

VmEvent VmProcess::take(VmMessage message) {
  VmEvent event;
  event.text = printable(message.text, kLineLimit);
  switch (message.type) {
    case VmMessageType::kPrepared:
      event.kind = VmEvent::Kind::kPrepared;
      break;
    case VmMessageType::kPong:
      event.kind = VmEvent::Kind::kPong;
      event.value = message.value;
      break;
    case VmMessageType::kReady:
      event.kind = VmEvent::Kind::kReady;
      break;
    case VmMessageType::kConsole:
      event.kind = VmEvent::Kind::kConsole;
      break;
    case VmMessageType::kEnded:
      return ended(message);
    case VmMessageType::kRefused:
      event.kind = VmEvent::Kind::kRefused;
      channel_.reset();
      await_end_of_adopted();
      break;
    case VmMessageType::kExposed:
      event.kind = VmEvent::Kind::kExposed;
      break;
    case VmMessageType::kSaved:
      event.kind = VmEvent::Kind::kSaved;
      break;
    case VmMessageType::kUnsaved:
      event.kind = VmEvent::Kind::kUnsaved;
      break;
    case VmMessageType::kRecorded:
      event.kind = VmEvent::Kind::kRecorded;
      break;
    case VmMessageType::kUnrecorded:
      event.kind = VmEvent::Kind::kUnrecorded;
      break;
    case VmMessageType::kViolation:
      return lost(describe_violation(message.value));
    default:
      event.kind = VmEvent::Kind::kNotice;
      break;
  }
  return event;
}

VmEvent VmProcess::ended(const VmMessage& message) {
  const uint32_t kind = message.value & ~kVmChannelPanicked;
  if (kind > static_cast<uint32_t>(End::Kind::kHostError)) {
    return lost(text("it gave an unknown end %u", message.value));
  }
  VmEvent event;
  event.kind = VmEvent::Kind::kEnded;
  event.end = static_cast<End::Kind>(kind);
  event.panicked = (message.value & kVmChannelPanicked) != 0;
  event.text = in_one_line(message.text);
  channel_.reset();
  const bool in_order = event.end == End::Kind::kPowerOff || event.end == End::Kind::kStopped;
  if (!in_order || event.panicked) await_end_of_adopted();
  return event;
}

// A process that says that it failed is on its way out. Its parent learns of the failure by its
// exit status (pool.h), and would not if it were killed here first.
void VmProcess::await_end_of_adopted() const {
  if (!adopted_.pidfd) return;
  pollfd ended{adopted_.pidfd.get(), POLLIN, 0};
  ::poll(&ended, 1, static_cast<int>(kDyingTimeout.count()));
}

VmEvent VmProcess::lost(const std::string& why) {
  channel_.reset();
  const std::string how = end_process(why.empty() ? kDyingTimeout : std::chrono::milliseconds(0));
  VmEvent event;
  event.kind = VmEvent::Kind::kLost;
  if (!why.empty()) {
    event.text = why;
  } else {
    event.text = how.empty() ? "it is gone" : "it ended with " + how;
  }
  return event;
}

// A process of somebody else's is killed, too; its parent sees to the rest.
std::string VmProcess::end_process(std::chrono::milliseconds timeout) {
  if (child_) {
    const auto status = child_->wait_or_kill(timeout);
    return status ? describe_wait_status(*status) : "";
  }
  if (!adopted_.pidfd) return "";
  pollfd ended{adopted_.pidfd.get(), POLLIN, 0};
  std::string how;
  if (::poll(&ended, 1, static_cast<int>(timeout.count())) != 1) {
    ::syscall(SYS_pidfd_send_signal, adopted_.pidfd.get(), SIGKILL, nullptr, 0);
  } else if (adopted_.how_it_ended) {
    how = printable(adopted_.how_it_ended(), kLineLimit);
  }
  adopted_.pidfd.reset();
  adopted_.how_it_ended = nullptr;
  return how;
}

Result<void> VmProcess::claim(bool report_console) {
  if (!channel_) return fail("claim the warm VM: it has ended");
  const uint32_t value = report_console ? kVmChannelReportConsole : 0;
  if (!send_vm_message(channel_.get(), VmMessageType::kClaim, value, "")) {
    return fail_errno("claim the warm VM");
  }
  return {};
}

Result<void> VmProcess::ping(uint32_t value) {
  if (!channel_) return fail("ping the VMM process: it has ended");
  if (!send_vm_message(channel_.get(), VmMessageType::kPing, value, "", -1, /*wait=*/false)) {
    return fail_errno("ping the VMM process");
  }
  return {};
}

void VmProcess::start_killing() {
  channel_.reset();
  if (child_) child_->start_killing();
}

std::optional<int> VmProcess::reap_if_gone() {
  return child_ ? child_->reap_if_gone() : std::nullopt;
}

Result<Fd> VmProcess::open_pidfd() const {
  Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid(), 0)));
  if (!handle) return fail_errno("open a handle of the VMM process");
  return handle;
}

void VmProcess::serve_port(uint32_t port, Opener opener) { ports_[port] = std::move(opener); }

Result<Fd> VmProcess::open_port(uint32_t port) const {
  if (const auto served = ports_.find(port); served != ports_.end()) return served->second();
  if (vsock_path_.empty()) return fail("nobody serves that port");
  return connect_unix(vsock_path_ + "_" + std::to_string(port));
}

void VmProcess::open_for_guest(uint32_t port) {
  const auto stream = open_port(port);
  const int fd = stream ? stream->get() : -1;
  // A VMM that asks but does not take the answer does not get it.
  send_vm_message(channel_.get(), VmMessageType::kOpened, port, "", fd, /*wait=*/false);
}

Result<Fd> VmProcess::connect(uint32_t port) {
  if (!channel_) return fail("connect to the guest: the VM has ended");
  auto pair = make_stream_pair();
  if (!pair) return std::unexpected(pair.error());
  // A process that does not read its VM channel must not hold us up: the stream then ends at once.
  if (!send_vm_message(channel_.get(), VmMessageType::kConnect, port, "", pair->second.get(),
                       /*wait=*/false)) {
    return fail_errno("pass a stream to the VMM process");
  }
  return std::move(pair->first);
}

Result<void> VmProcess::save(SnapshotFiles files, bool hold) {
  if (!channel_) return fail("save the VM: it has ended");
  const int socket = channel_.get();
  if (!send_vm_message(socket, VmMessageType::kState, 0, "", files.state.get()) ||
      !send_vm_message(socket, VmMessageType::kSave, hold ? kVmChannelHold : 0, "",
                       files.memory.get())) {
    return fail_errno("pass the snapshot's files to the VMM process");
  }
  return {};
}

Result<void> VmProcess::resume() {
  if (!channel_) return fail("resume the VM: it has ended");
  if (!send_vm_message(channel_.get(), VmMessageType::kResume, 0, "")) {
    return fail_errno("tell the VMM process to resume");
  }
  return {};
}

Result<void> VmProcess::record_working_set(int file) {
  if (!channel_) return fail("record the working set: the VM has ended");
  if (!send_vm_message(channel_.get(), VmMessageType::kRecord, 0, "", file, /*wait=*/false)) {
    return fail_errno("ask the VMM process for its working set");
  }
  return {};
}

void VmProcess::stop() {
  channel_.reset();  // its end is the request
  end_process(kDyingTimeout);
}

void VmProcess::kill() {
  channel_.reset();
  end_process(std::chrono::milliseconds(0));
}

VmProcess::~VmProcess() {
  if (!child_) kill();
}

}  // namespace thimble
