// A machine frozen into memory files, and clones of it.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "thimble/machine.h"
#include "thimble/snapshot.h"

namespace thimble::test {

struct FrozenFiles {
  Fd state{memfd_create("state", MFD_CLOEXEC)};
  Fd memory{memfd_create("memory", MFD_CLOEXEC)};

  [[nodiscard]] Result<std::shared_ptr<const Snapshot>> open() const {
    return Snapshot::open(Fd(dup(state.get())), Fd(dup(memory.get())));
  }
};

// Saves a paused machine.
inline Result<FrozenFiles> freeze(Machine& machine) {
  FrozenFiles files;
  auto saved = machine.save(files.state.get(), files.memory.get());
  if (!saved) return std::unexpected(saved.error());
  return files;
}

}  // namespace thimble::test
