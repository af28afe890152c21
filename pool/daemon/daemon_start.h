// How a daemon comes by its socket, and how it is started.
//
// One daemon for each folder: whoever holds the lock on daemon.lock is it. A socket that a killed
// daemon left is replaced by the next one, which knows by the lock that nobody serves it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "devices/base/file_lock.h"
#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class DaemonPlace {
 public:
  // Takes the lock and listens. Nothing when another daemon serves this folder already.
  static Result<std::optional<DaemonPlace>> take(const OwnedFolder& folder);

  DaemonPlace(DaemonPlace&& other) noexcept;
  DaemonPlace& operator=(DaemonPlace&&) = delete;
  DaemonPlace(const DaemonPlace&) = delete;
  DaemonPlace& operator=(const DaemonPlace&) = delete;
  ~DaemonPlace();  // the socket's name goes, then the lock

  // To be taken once.
  Fd listener() { return std::move(listener_); }

 private:
  DaemonPlace(OwnedFolder folder, FileLock lock, Fd listener)
      : folder_(std::move(folder)), lock_(std::move(lock)), listener_(std::move(listener)) {}
  OwnedFolder folder_;
  std::optional<FileLock> lock_;  // nothing once moved from
  Fd listener_;
};

// The socket that systemd passes (sd_listen_fds(3)), when it has passed one to this very process.
// An error when it is none that a daemon can serve. To be called once, at the start.
Result<std::optional<Fd>> socket_of_systemd();

// Starts `thimble daemon` with these arguments, in a session of its own, without the caller's
// descriptors, terminal and environment (but for what says where things are), its log in the
// folder. Returns when it is on its way. A second one that is started at the same time ends by
// itself.
Result<void> start_daemon(const OwnedFolder& folder, const std::vector<std::string>& arguments);

}  // namespace thimble
