// What server to run, and in what VM: one description for the command line, a file, HTTP and C.
// Plain data; what it names is looked at when the server is started.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::launch {

struct ServerConfig {
  std::vector<std::string>
      command;                   // as typed on the host (docs/images.md); empty: the image's own
  std::string image;             // a name, an erofs file; empty: chosen by the command
  std::string from_template;     // the template to clone, instead of a command to boot
  std::vector<std::string> env;  // "K=V", "K" or "K*" (environment.h)
  std::string workdir;           // in the guest; empty: by the command
  std::string user;              // in the guest: uid, name, uid:gid, name:group; empty: root
  uint64_t memory_bytes = 512ULL << 20;
  unsigned vcpus = 1;
  std::string kernel;  // a file; empty: the one that is installed
  // After the end of stdin, a server that is silent for so long is ended. 0 or nothing: never.
  std::optional<std::chrono::milliseconds> stdin_grace;
  bool require_confinement = false;  // refuse a host that cannot confine the VMM fully
  bool no_daemon = false;            // every clone in a process of the caller's own
  bool cold = false;                 // boots, whatever templates there are, and makes none
  bool in_memory = false;            // a template that is made is kept off the disk
  // Somebody will talk to it: a template of it is best frozen once it waits for that.
  bool awaits_client = true;
  // After so long without work a clone's memory is reclaimed; nothing: never.
  std::optional<std::chrono::milliseconds> reclaim_after = std::chrono::milliseconds(500);
  bool verbose = false;  // notes tell more, the guest's console too
};

// Hears what the user of a server should know, one line each, without a newline. Lines may hold
// foreign text (docs/security.md).
using Say = std::function<void(std::string_view line)>;

}  // namespace thimble::launch
