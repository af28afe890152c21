// The socket by which a VM in the foreground is asked to save itself (`thimble boot --save-socket
// PATH`): an AF_UNIX stream that only its owner may connect to. One client at a time:
//
//   client                                        here
//   "save\n" or "hold\n" with two descriptors,  ->
//     the empty files for state and memory
//                                                <-  "saved\n", or "error: why\n"
//   after "hold": "stop\n"                       ->  the VM ends without having gone on
//                 anything else, or the end      ->  the VM goes on
//
// The client opens the files, so this process and the VMM touch no path of the client's choice.
#pragma once

#include <memory>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/vm/vm_process.h"
#include "vmm/unix_listener.h"

namespace thimble::cli {

class SaveSocket {
 public:
  // Binds `path`; the file goes with this object.
  static Result<SaveSocket> make(const std::string& path);

  // To be polled for POLLIN: the listener, or the client that is served.
  [[nodiscard]] int poll_fd() const { return client_ ? client_.get() : listener_.get(); }
  // It is readable. True when the client asked that the VM end.
  bool serve(VmProcess& vm);
  // kSaved or kUnsaved came.
  void saved(const VmEvent& event);

 private:
  enum class Phase { kAwaitsRequest, kSaving, kHeld };

  SaveSocket(UnixListener name, Fd listener)
      : name_(std::move(name)), listener_(std::move(listener)) {}
  bool serve_client(VmProcess& vm);
  void begin(VmProcess& vm, SnapshotFiles files, bool hold);
  void answer(const std::string& line);
  void drop();

  UnixListener name_;
  Fd listener_;
  Fd client_;
  Phase phase_ = Phase::kAwaitsRequest;
  bool hold_ = false;
};

// The client's side: asks the VM behind `path` to save into `files`. With `hold` the VM stays
// paused until the result goes.
class SaveClient {
 public:
  static Result<SaveClient> save(const std::string& path, int state, int memory, bool hold);
  // After `hold`.
  Result<void> stop();

 private:
  explicit SaveClient(Fd socket) : socket_(std::move(socket)) {}
  Fd socket_;
};

}  // namespace thimble::cli
