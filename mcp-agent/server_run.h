// One server in one VM, from the fork of its VMM process to the exit status: what `thimble run`
// does once the image is there. To the process that started `thimble`, it behaves as the server
// itself: bytes, end of input, signals, exit status.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mcp-agent/stdio_bridge.h"
#include "pool/guest/guest_control.h"
#include "pool/vm/vm_process.h"

namespace thimble {

// Exit statuses of ours, as env(1), timeout(1) and container runtimes give them; and that of most
// programs when they could not write their output, instead of a server's 0.
constexpr int kExitOutput = 1;
constexpr int kExitTimeout = 124;
constexpr int kExitFailure = 125;
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitSignalBase = 128;
constexpr int kExitRefused = -1;  // never a process' status

struct ServerRun {
  GuestIdentity identity;
  ServerSpec server;
  UserStdio user;
  // Where others ask for processes beside the server (pool/guest/exec_service.h); or none.
  Fd exec_listener = {};
  // From the start of the server to its end in order: stdin closed, SIGTERM, SIGKILL.
  std::optional<std::chrono::milliseconds> timeout;
  // From the fork to the start of the server. Nested emulation on a busy machine is slow.
  std::chrono::milliseconds boot_timeout{std::chrono::minutes(2)};
  // The VM is a clone: its guest does not announce itself, it is there.
  bool clone = false;
  // Of what, for messages: "template x".
  std::string clone_of;
  // Hears once that the server runs.
  std::function<void()> on_started;
  // Clones: from the fork to the guest's first word, which it has only to say.
  std::chrono::milliseconds clone_timeout{std::chrono::seconds(30)};
  // Clones: the snapshot was refused by this host, or its guest ended or hung before it said a
  // word. Nothing of the client's was read. Nothing is said then, and the run ends with
  // kExitRefused.
  std::function<void(std::string_view why)> on_refused;
  // Clones: hears the working set (Machine::record_working_set()) when the first requests are
  // answered, or at the end of a server that answered fewer. Not set: nothing is recorded.
  std::function<void(std::span<const uint8_t> set)> on_working_set;
  // The server ended with an error of its own before it answered anything: hears how its stderr
  // began, after all of it was passed on.
  std::function<void(std::string_view error_output)> on_early_end;
  // Tells what happens, the guest's console too.
  bool verbose = false;
  // One line for the user, without prefix and newline.
  std::function<void(std::string_view)> say;
  // Ends a line that the server left unfinished on stderr: one of ours follows.
  std::function<void()> end_line;
};

// Starts the VM process, runs the server in it, and ends with everything gone. The result is the
// exit status for the caller; failures were said. One thread; signals are taken over meanwhile.
using StartVm = std::function<Result<VmProcess>()>;
int run_server(const StartVm& start_vm, ServerRun run);

}  // namespace thimble
