// One process at a time (flock(2)), by a file or by a folder. A lock ends with its process, however
// that ends, so one whose holder was killed is taken by the next who wants it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "devices/base/owned_folder.h"

namespace thimble {

// How an open file is locked; the lock goes with its last descriptor.
struct LockKind {
  bool shared = false;  // with others that share it; else alone
  bool wait = false;    // in the kernel's queue, until it is had
};
// False when somebody else has it and this does not wait. `path`: for messages.
FileResult<bool> lock_file(int fd, LockKind kind, const std::string& path);
// For all descriptors of the open file, others' too.
void unlock_file(int fd);

// A file that is there while it is locked; it has its holder's process id, for messages.
class FileLock {
 public:
  // Nothing while another process holds it. `folder` outlives the lock.
  static FileResult<std::optional<FileLock>> take(const OwnedFolder& folder, std::string name);

  // One that this process was given by the holder before it, who leaves it (leave()).
  static FileLock adopt(const OwnedFolder& folder, std::string name, Fd file);

  FileLock(FileLock&& other) noexcept = default;
  FileLock& operator=(FileLock&&) = delete;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();  // the file goes, then the lock

  [[nodiscard]] int fd() const { return file_.get(); }
  // Closes this process's copy and leaves the lock to another process that has one.
  void leave() { file_.reset(); }

 private:
  FileLock(int folder, std::string name, Fd file)
      : folder_(folder), name_(std::move(name)), file_(std::move(file)) {}
  void record_holder() const;  // this process

  int folder_;
  std::string name_;
  Fd file_;
};

// Process id recorded in a lock file, 0 when unknown.
pid_t lock_holder(const OwnedFolder& folder, const std::string& name);

// A folder that is being filled belongs to whoever holds a lock on it; one that nobody holds was
// left by a maker that was killed, and may be removed by who then has its lock. The lock goes with
// the result. Nothing when somebody else holds it or has taken it away meanwhile.
FileResult<std::optional<OwnedFolder>> lock_folder(const OwnedFolder& parent,
                                                   const std::string& name);
// The same for one that is open already; false when somebody else holds it.
FileResult<bool> lock_folder(const OwnedFolder& folder);

}  // namespace thimble
