// One VM in a process of its own, which makes the Machine and runs it: another program
// (vmm_program.h) with nothing of its parent's memory, tied to its parent by the VM channel
// (vm_channel.h) and by the kernel's parent-death signal (bound_child.h). Nothing of it has a name:
// when either process is killed, nothing stays behind.
//
// The parent opens everything that the process needs (/dev/kvm, kernel, initrd, disks, the vsock
// listener), since the process is shut into a jail before it looks at any of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/vm/bound_child.h"
#include "pool/vm/vm_channel.h"
#include "pool/vm/vm_spec.h"
#include "thimble/machine.h"
#include "vmm/unix_listener.h"

namespace thimble {

struct VmEvent {
  enum class Kind {
    kPrepared,    // the warm VM stands: claim() is next
    kPong,        // the answer to ping(): `value`
    kReady,       // the guest's listeners stand: connect() reaches them
    kConsole,     // text: a line of the serial console
    kNotice,      // text: a line for the log
    kExposed,     // text: the layers of confinement that the host refused
    kSaved,       // save() is done
    kUnsaved,     // save() failed: text = why. The machine goes on
    kRecorded,    // record_working_set() is done
    kUnrecorded,  // it failed: text = why
    kEnded,       // the machine ended: `end`, text = why, in one line
    kRefused,     // the machine could not be made: text = why
    kLost,        // the process died, or broke the VM channel's rules: text = how
  };
  Kind kind = Kind::kNotice;
  std::string text;  // printable
  End::Kind end = End::Kind::kStopped;
  bool panicked = false;  // kEnded: the guest's kernel panicked before
  uint32_t value = 0;     // kPong
};

// A VM process that another process of ours started and holds (pool/daemon/daemon.h), as it is
// handed to the one that uses it.
struct HandedOver {
  Fd channel;
  Fd pidfd;
  pid_t pid = -1;
  std::string exposed;  // layers of confinement that the host refused, or empty
  // How the process ended ("signal 9 (Killed)"), for one that is gone; or empty. What it holds goes
  // with the VmProcess.
  std::function<std::string()> how_it_ended;
};

class VmProcess {
 public:
  // Any process may start one, whatever threads and secrets it has; the thread that does must live
  // as long as the VM may. After kEnded, kRefused or kLost no further event comes.
  static Result<VmProcess> start(VmSpec spec);

  // A fork instead, for tests: its body speaks the VM channel's protocol on the descriptor it is
  // given. See BoundChild::start() for what that asks of the caller.
  using Body = std::function<int(int channel)>;
  static Result<VmProcess> start(const Body& body, std::span<const int> kept, bool keep_stderr);

  // … and in a jail.
  using JailedVmBody = std::function<int(int channel, const Confinement&)>;
  static Result<VmProcess> start_jailed(const JailedVmBody& body, std::span<const int> kept,
                                        const JailOptions& options);

  VmProcess(VmProcess&&) noexcept = default;
  VmProcess& operator=(VmProcess&&) noexcept = default;
  VmProcess(const VmProcess&) = delete;
  VmProcess& operator=(const VmProcess&) = delete;
  ~VmProcess();  // kills

  // A VM that runs already, or was told to. Nothing is reaped by this process.
  static VmProcess adopt(HandedOver vm);

  // A warm VM takes over its template and runs. Once; kRefused comes when it cannot.
  Result<void> claim(bool report_console);
  // Whether somebody is there: kPong follows.
  Result<void> ping(uint32_t value);

  // For whoever adopts it. Afterwards this object only holds the process: no event comes, and all
  // that can be done is kill(), or start_killing() and reap_if_gone().
  Fd hand_over() { return std::move(channel_); }
  // Kills without waiting; the process is gone when its pidfd says so. Then reap_if_gone() gives
  // its wait status, once; before that, nothing.
  void start_killing();
  std::optional<int> reap_if_gone();
  // To be polled: readable when the process has ended.
  [[nodiscard]] Result<Fd> open_pidfd() const;

  // To be polled for POLLIN; -1 once the process is lost.
  [[nodiscard]] int poll_fd() const { return channel_.get(); }

  // The next event that is already there. Never waits, but for the end of a dying process.
  std::optional<VmEvent> next_event();

  // A stream joined with `port` of the guest: non-blocking, close-on-exec. It is closed by the
  // other side when the guest refuses.
  Result<Fd> connect(uint32_t port);

  // What the guest connects to at this port of the host: each time, a stream that `opener` gives (a
  // connected byte stream socket, to be handed over), or a refusal. From next_event(), so it must
  // not wait. Before the guest asks; of a clone that is the host's that has it now.
  using Opener = std::function<Result<Fd>()>;
  void serve_port(uint32_t port, Opener opener);

  // Saves the machine into two empty files; kSaved or kUnsaved follows. It is paused meanwhile, and
  // with `hold` until resume() when that succeeds. One at a time.
  Result<void> save(SnapshotFiles files, bool hold);
  Result<void> resume();

  // Writes the working set of a clone into an empty file; kRecorded or kUnrecorded follows.
  Result<void> record_working_set(int file);

  // The last lines of the console, known after kEnded.
  [[nodiscard]] const std::vector<std::string>& console_tail() const { return tail_; }

  // Asks the machine to stop, so that it can say its last words, and kills the process if it has
  // not ended then.
  void stop();

  // Kills the process and waits until it is gone. Whatever is left in the streams can still be
  // read.
  void kill();

  [[nodiscard]] pid_t pid() const { return child_ ? child_->pid() : adopted_.pid; }

 private:
  VmProcess(std::optional<BoundChild> child, Fd channel)
      : child_(std::move(child)), channel_(std::move(channel)) {}
  // Each ends the process, and tells how it ended where that is known.
  std::string end_process(std::chrono::milliseconds timeout);
  VmEvent take(VmMessage message);
  VmEvent ended(const VmMessage& message);
  VmEvent lost(const std::string& why);
  void await_end_of_adopted() const;
  void open_for_guest(uint32_t port);
  [[nodiscard]] Result<Fd> open_port(uint32_t port) const;

  std::optional<BoundChild> child_;  // none: adopted
  HandedOver adopted_;
  Fd channel_;
  std::vector<std::string> tail_;
  std::map<uint32_t, Opener> ports_;     // of the host's that the guest may connect to
  std::unique_ptr<UnixListener> vsock_;  // keeps the socket's name
  std::string vsock_path_;               // the guest's streams to any other port N go to PATH_N
};

// A connected pair of byte streams, close-on-exec. The first is non-blocking.
Result<std::pair<Fd, Fd>> make_stream_pair();

}  // namespace thimble
