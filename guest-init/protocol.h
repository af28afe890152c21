// The control protocol between the host and guest-init: ports, frames, message types and tags.
// docs/control-protocol.md tells the whole story; this file is its only definition in code.
// Shared by guest-init (no C++ library there) and by pool/ on the host, so: plain constants and
// packed structs, C headers only. All integers are little-endian, as both sides are x86-64.
#pragma once

#include <stdint.h>

namespace thimble::protocol {

constexpr uint32_t kVersion = 4;

// vsock ports. The host always connects to the guest; the one exception is the announcement.
constexpr uint32_t kControlPort = 1024;  // guest listens: one control channel
constexpr uint32_t kStreamPort = 1025;   // guest listens: byte streams, each with a StreamPreface
constexpr uint32_t kReadyPort = 1024;  // host listens: init connects once its own listeners stand,
                                       // and closes at once; the connection itself is the message

// I/O port of the power-off device: one byte kPowerOffValue written to it ends the VM. It is the
// sleep control register of hardware-reduced ACPI (ACPI 6.4, 4.8.3.7): SLP_EN | S5 << 2.
constexpr uint16_t kPowerOffPort = 0x600;
constexpr uint8_t kPowerOffValue = 0x34;

// ---- Frames on the control channel -------------------------------------------------------------
// A frame is a header and `length` bytes of payload; the payload is a sequence of fields.
struct FrameHeader {
  uint32_t length;  // bytes of payload, at most kMaxPayload
  uint16_t type;    // MessageType
  uint16_t zero;    // must be 0
} __attribute__((packed));

// A field is a header and `length` bytes of value. Unknown tags are a protocol error: both sides
// ship together, so a tag that one does not know is a bug or an attack.
struct FieldHeader {
  uint16_t tag;     // Tag
  uint16_t zero;    // must be 0
  uint32_t length;  // bytes of value
} __attribute__((packed));

constexpr uint32_t kMaxPayload = 256 * 1024;
constexpr uint32_t kMaxArguments = 4096;    // argv entries
constexpr uint32_t kMaxEnvironment = 4096;  // environment entries
constexpr uint32_t kMaxMounts = 16;
constexpr uint32_t kMaxRlimits = 16;

// Processes. 0 is the server, which the guest is there for. The host may start others beside it, at
// any time but while the guest is frozen, and numbers them 1 to kMaxProcesses; a number is free
// again once its kExited or kFailed has come. Each has streams of its own. kTagProcess names one in
// kStart, kSignal and kResize, and in their answers; without it they are about the server.
constexpr uint32_t kServerProcess = 0;
constexpr uint32_t kMaxProcesses = 8;

enum MessageType : uint16_t {
  // host -> guest
  kConfigure = 1,  // identity and mounts: once before kStart, and again in each clone while frozen
  kStart = 2,      // start the server, or a process beside it
  kSignal = 3,     // send a signal to its process group
  kPing = 4,       // health probe
  kEnd = 5,        // end the server in order: close stdin, wait, SIGTERM, wait, SIGKILL
  kPowerOff = 6,   // end the VM now
  kFreeze = 7,     // stop the server where it is, for a snapshot; closes the streams
  kThaw = 8,       // let it go on
  kSetClock = 9,   // the host's wall clock was set, or the host woke up: no answer
  kResize = 10,    // the terminal of a process has another size: no answer

  // guest -> host
  kHello = 65,       // first message after the host connects
  kConfigured = 66,  // answer to kConfigure
  kStarted = 67,     // answer to kStart: it was exec'd
  kFailed = 68,      // answer to a request: what could not be done
  kExited = 69,      // it ended; all its output was handed to the streams, if the host sent no
                     // signal: then it follows
  kPong = 70,        // answer to kPing
  kNotice = 71,      // one line for the host's log
  kFrozen = 72,  // answer to kFreeze: no instruction of the server runs any more; kTagText names a
                 // process whose random numbers would be the same in all clones, if there is one
  kThawed = 73,  // answer to kThaw
};

enum Tag : uint16_t {
  // kHello
  kTagVersion = 1,  // u32 kVersion
  kTagState = 2,    // u32 GuestState

  // kConfigure
  kTagHostname = 10,   // bytes
  kTagWallClock = 11,  // u64 nanoseconds since the epoch; also kSetClock
  kTagEntropy = 12,    // bytes, credited to the kernel's pool
  kTagMount = 13,      // Mount struct, repeated

  // kStart
  kTagArgument = 20,     // bytes without NUL, repeated: argv in order
  kTagEnvironment = 21,  // bytes "K=V", repeated: the whole environment of the server
  kTagWorkdir = 22,      // bytes, absolute path; "/" when absent
  kTagUser = 23,         // bytes: "uid", "name", "uid:gid" or "name:group"; root when absent
  kTagRlimit = 24,       // Rlimit struct, repeated
  kTagStdinGrace = 25,   // u32 milliseconds from the end of stdin to SIGTERM while the server is
                         // silent; 0 = never
  kTagTermGrace = 26,    // u32 milliseconds from SIGTERM to SIGKILL; 0 = never
  kTagDetached = 27,  // u32, a bit for each stream (1 << Stream): start when those are connected;
                      // the others may be connected later, or after a freeze
  kTagTerminal = 28,  // Window struct: a terminal in place of pipes; also kResize. stdin and stdout
                      // are its two directions, and it has no stderr

  // kSignal
  kTagSignal = 30,  // u32 signal number

  // kPing, kPong
  kTagNonce = 40,  // u64

  // kStarted
  kTagPid = 50,  // u32 in the guest

  // kFailed
  kTagErrno = 60,  // u32 errno of Linux x86-64
  kTagStep = 61,   // u32 Step
  kTagText = 62,   // bytes: what was tried ("exec node", "mount /dev/vdb on /app"); also kNotice,
                   // kFrozen

  // kExited
  kTagExitCode = 70,    // u32, present when the server exited by itself
  kTagExitSignal = 71,  // u32, present when a signal ended it
  kTagOomKills = 72,    // u32 processes of the server that the guest's kernel killed for memory

  // kFreeze
  kTagIdleLimit = 80,  // u32 milliseconds to wait until the server has come up and awaits its
                       // client; absent = freeze at once

  // kStart, kSignal, kResize; kStarted, kFailed, kExited
  kTagProcess = 90,  // u32, 1 to kMaxProcesses

  // kThaw takes kTagStdinGrace and kTagTermGrace: what is absent stays as it was
};

// kTagState: what the host finds. A fresh guest is at the start of its life; the others were frozen
// before or after kStart, and are clones of a snapshot unless the host has merely reconnected.
enum GuestState : uint32_t { kStateFresh = 0, kStateFrozenConfigured = 1, kStateFrozenRunning = 2 };

enum Step : uint32_t {
  kStepProtocol = 1,  // the message itself was malformed or came at the wrong time
  kStepMount = 2,
  kStepUser = 3,
  kStepWorkdir = 4,
  kStepRlimit = 5,
  kStepExec = 6,  // ENOENT: the command is not in the image
  kStepFork = 7,
  kStepIdentity = 8,
  kStepIdle = 9,  // the server did not settle in time; it runs on, not frozen
  kStepFreeze = 10,
};

// kTagMount. Strings are NUL-terminated inside their arrays.
struct Mount {
  char source[64];    // block device, e.g. "/dev/vdb"
  char fstype[16];    // "erofs"
  char target[1024];  // absolute path in the guest; created in the writable layer when missing
  uint32_t flags;  // MS_RDONLY, MS_NOSUID, MS_NODEV… as in mount(2); a read-only disk comes under
                   // a writable layer in the guest's memory
} __attribute__((packed));

struct Rlimit {
  uint32_t resource;  // RLIMIT_* of Linux x86-64
  uint64_t soft;
  uint64_t hard;
} __attribute__((packed));

// kTagTerminal, in characters.
struct Window {
  uint16_t rows;
  uint16_t columns;
} __attribute__((packed));

// ---- Byte streams ------------------------------------------------------------------------------
// The first bytes that the host sends on a connection to kStreamPort; raw bytes follow. stdin flows
// to the guest and ends with the host's half close; stdout and stderr flow to the host and end
// with the guest's. A host that closes stdout's stream is a reader gone: the server gets SIGPIPE.
struct StreamPreface {
  uint32_t magic;    // kStreamMagic
  uint32_t stream;   // Stream
  uint32_t process;  // whose it is: kServerProcess, or another
} __attribute__((packed));

constexpr uint32_t kStreamMagic = 0x6d727473;  // "strm"

enum Stream : uint32_t { kStdin = 0, kStdout = 1, kStderr = 2 };

// All three streams (with a terminal, two) must be connected before kStart is carried out, unless
// it says kTagDetached, and before kThaw of a running server: the guest waits for them.

}  // namespace thimble::protocol
