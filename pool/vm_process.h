// One VM in a process of its own: a fork of `thimble` that makes the Machine and runs it, tied to
// its parent by the broker (broker.h) and by the kernel's parent-death signal (bound_child.h).
// Nothing of it has a name: when either process is killed, nothing stays behind.
//
// The descriptors of disks, the console and the initrd are opened by the parent and inherited.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/bound_child.h"
#include "pool/broker.h"
#include "thimble/machine.h"

namespace thimble {

struct VmSpec {
  // Its callbacks and guest_connect_ports belong to the VM process and are overwritten.
  MachineOptions machine;
  // Descriptors that stay open in the VM process: those that paths /proc/self/fd/N name.
  std::vector<Fd> kept;
  // A connected stream that carries the serial console both ways, or none.
  Fd console;
  // Reports every line of the serial console as an event, not only the last ones at the end.
  bool report_console = false;
  // Confinement: called in the VM process before /dev/kvm is opened, when it has one thread and
  // only the descriptors above. An error refuses the VM.
  std::function<Result<void>()> confine;
};

struct VmEvent {
  enum class Kind {
    kReady,    // the guest's listeners stand: connect() reaches them
    kConsole,  // text: a line of the serial console
    kNotice,   // text: a line for the log
    kEnded,    // the machine ended: `end`, text = why, in one line
    kRefused,  // the machine could not be made: text = why
    kLost,     // the process died, or broke the broker's rules: text = how
  };
  Kind kind = Kind::kNotice;
  std::string text;  // printable
  End::Kind end = End::Kind::kStopped;
  bool panicked = false;  // kEnded: the guest's kernel panicked before
};

class VmProcess {
 public:
  // Forks. See BoundChild::start() for what that asks of the caller. After kEnded, kRefused or
  // kLost no further event comes.
  static Result<VmProcess> start(VmSpec spec);

  // The same with another body, which speaks the broker protocol on the descriptor it is given.
  using Body = std::function<int(int broker)>;
  static Result<VmProcess> start(const Body& body, std::span<const int> kept, bool keep_stderr);

  // To be polled for POLLIN; -1 once the process is lost.
  [[nodiscard]] int poll_fd() const { return broker_.get(); }

  // The next event that is already there. Never waits, but for the end of a dying process.
  std::optional<VmEvent> next_event();

  // A stream joined with `port` of the guest: non-blocking, close-on-exec. It is closed by the
  // other side when the guest refuses.
  Result<Fd> connect(uint32_t port);

  // The last lines of the console, known after kEnded.
  [[nodiscard]] const std::vector<std::string>& console_tail() const { return tail_; }

  // Kills the process and waits until it is gone. Whatever is left in the streams can still be
  // read.
  void kill();

  [[nodiscard]] pid_t pid() const { return child_.pid(); }

 private:
  VmProcess(BoundChild child, Fd broker) : child_(std::move(child)), broker_(std::move(broker)) {}
  VmEvent take(BrokerMessage message);
  VmEvent ended(const BrokerMessage& message);
  VmEvent lost(const std::string& why);

  BoundChild child_;
  Fd broker_;
  std::vector<std::string> tail_;
};

// A connected pair of byte streams, close-on-exec. The first is non-blocking.
Result<std::pair<Fd, Fd>> make_stream_pair();

}  // namespace thimble
