// The VM channel: the one socket between `thimble` and the VMM process of one VM. A SOCK_SEQPACKET
// pair that the fork inherits, so that it has no name and dies with its ends. One datagram is one
// message:
//
//   u32 type | u32 value | text (0 to kVmChannelMaxText bytes)
//
//   parent -> VMM   connect   value = vsock port; one descriptor: the stream to join with it
//                   opened    value = port of the host that was asked for; one descriptor: the
//                             stream to it, or none: refused
//                   state     one descriptor: the state file that the next `save` fills
//                   save      one descriptor: its memory file. The machine is paused, written, and
//                             goes on, unless value = kVmChannelHold
//                   resume    ends that pause
//                   claim     a warm VM (vm_process.h) takes over its template and runs; value =
//                             kVmChannelReportConsole or 0. Once, and before all else but ping
//                   ping      value = any
//                   record    one descriptor: an empty file for the working set of a clone
//   VMM -> parent   ready     the guest announced that its listeners stand
//                   console   text = one line of the serial console (only when asked for)
//                   tail      text = one of the last lines of the console, before `ended`
//                   notice    text = one line for the log
//                   ended     value = End::Kind, plus kVmChannelPanicked; text = why
//                   refused   the machine could not be made: text = why
//                   violation the process ends because of a forbidden system call; value = its
//                             number and the thread (thread_filters.h)
//                   exposed   text = the layers of confinement that the host refused
//                   open      value = port of the host that the guest wants a stream to
//                   saved     both files are written
//                   unsaved   they are not: text = why. The machine goes on
//                   recorded  the working set is written; value = its pages
//                   unrecorded  it is not: text = why
//                   prepared  a warm VM stands and waits for its claim
//                   pong      the answer to a ping, with its value
//
// A VMM process that its guest has taken over is hostile: the parent takes no descriptors from it,
// checks every message, and shows its text only in printable form. The end of the parent's socket
// ends the machine.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

enum class VmMessageType : uint32_t {
  kConnect = 1,
  kOpened = 2,
  kState = 3,
  kSave = 4,
  kResume = 5,
  kClaim = 6,
  kPing = 7,
  kRecord = 8,
  kReady = 65,
  kConsole = 66,
  kTail = 67,
  kNotice = 68,
  kEnded = 69,
  kRefused = 70,
  kViolation = 71,
  kExposed = 72,
  kOpen = 73,
  kSaved = 74,
  kUnsaved = 75,
  kPrepared = 76,
  kPong = 77,
  kRecorded = 78,
  kUnrecorded = 79,
};

constexpr size_t kVmChannelMaxText = 4096;

// Added to the value of kEnded when the guest's kernel said on its console that it panicked.
constexpr uint32_t kVmChannelPanicked = 1U << 8;

// Value of kSave: the machine stays paused once it is saved.
constexpr uint32_t kVmChannelHold = 1;

// Value of kClaim: every line of the serial console is to be reported.
constexpr uint32_t kVmChannelReportConsole = 1;

struct VmMessage {
  VmMessageType type = VmMessageType::kNotice;
  uint32_t value = 0;
  std::string text;
  Fd stream;  // with kConnect, kState, kSave, kRecord; with kOpened, or none
};

enum class VmChannelSide { kParent, kVmm };

// Both ends: first the parent's, second the VMM's. Close-on-exec.
Result<std::pair<Fd, Fd>> make_vm_channel();

// Sends one message; text beyond kVmChannelMaxText is cut. `stream` is the descriptor to pass, or
// -1. Waits while the socket is full, unless `wait` is false: then the message is dropped. False,
// with errno, when the other end is gone; a VMM process may ignore that, since its end is near
// then.
bool send_vm_message(int socket, VmMessageType type, uint32_t value, std::string_view text,
                     int stream = -1, bool wait = true);

struct VmChannelEmpty {};   // nothing there now (only with wait = false)
struct VmChannelClosed {};  // the other end is gone
using VmReceived = std::variant<VmMessage, VmChannelEmpty, VmChannelClosed, Error>;

// Receives one message as `side`. An Error is a message that this side must not get; the socket is
// to be closed then.
VmReceived receive_vm_message(int socket, VmChannelSide side, bool wait);

// Checks one datagram that `side` received. For receive_vm_message() and for tests.
Result<VmMessage> parse_vm_message(std::span<const uint8_t> datagram, VmChannelSide side);

}  // namespace thimble
