// The folder of a snapshot: the files `state` and `memory` (thimble/snapshot.h), private to their
// owner. It appears under its name only when it is whole and on disk: until then it is a folder
// NAME.partial-PID beside it, which goes when this object goes. The next save to NAME
// removes one whose writer was killed (devices/base/file_lock.h).
//
// Only a folder of our own or of root's is opened, to which nobody else may write, and nothing in
// it is followed: the snapshot of another user is refused.
//
// `verified` is a third file: which memory file has been compared with its digest, by device, inode
// number, length and times. Whoever changes, replaces or copies the file changes one of those.
#pragma once

#include <memory>
#include <string>

#include "devices/base/owned_folder.h"
#include "devices/result.h"
#include "pool/vm/vm_process.h"
#include "thimble/snapshot.h"

namespace thimble {

class SnapshotWriter {
 public:
  // Nothing may be at `path` yet.
  static Result<SnapshotWriter> create(std::string path);
  SnapshotWriter(SnapshotWriter&& other) noexcept;
  SnapshotWriter& operator=(SnapshotWriter&&) = delete;
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;
  ~SnapshotWriter();

  // The empty files, to be filled by others. Not owned.
  [[nodiscard]] int state() const { return state_.get(); }
  [[nodiscard]] int memory() const { return memory_.get(); }
  // The files as VmProcess::save() wants them.
  [[nodiscard]] Result<SnapshotFiles> files() const;

  // They are filled: makes them durable and gives the folder its name.
  Result<void> commit();

 private:
  SnapshotWriter(std::string path, Fd parent, OwnedFolder folder, std::string partial)
      : path_(std::move(path)),
        parent_(std::move(parent)),
        folder_(std::move(folder)),
        partial_(std::move(partial)) {}

  std::string path_;
  Fd parent_;            // where it is going to be
  OwnedFolder folder_;   // locked
  std::string partial_;  // its name in `parent_`; empty once it has its own, or was moved from
  Fd state_;
  Fd memory_;
};

struct OpenedSnapshot {
  SnapshotFiles files;  // for a VM process
  std::shared_ptr<const Snapshot> snapshot;
};

// Opens a snapshot's folder and checks it; its memory is read only when it was not verified before.
Result<OpenedSnapshot> open_snapshot(const std::string& path);

}  // namespace thimble
