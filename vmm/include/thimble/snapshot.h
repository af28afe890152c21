// A machine that was saved by Machine::save(), opened to be restored any number of times.
//
// It is two files: the state (a few dozen KiB) and the memory, a sparse file as long as the guest's
// memory that is mapped, not read. Both are handed over as descriptors; where they lie is the
// caller's affair. docs/snapshots.md has the layout.
//
// A snapshot holds whatever the guest's memory held, secrets too: keep both files private.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "thimble/fd.h"
#include "thimble/result.h"

namespace thimble {

// What a snapshot says about itself.
struct SnapshotFacts {
  struct Part {
    std::string name;
    uint32_t version = 0;
    uint64_t bytes = 0;
  };
  uint64_t memory_bytes = 0;
  uint64_t stored_bytes = 0;  // of memory that is not zero: what the file holds
  unsigned vcpus = 0;
  std::vector<std::string> devices;  // "disk", "vsock", "entropy", in order
  uint64_t created = 0;              // seconds since 1970, 0 if the host's KVM did not tell
  std::string host_kernel;           // release of the kernel that it was made on
  std::string cpu_vendor;            // as the guest sees it: "GenuineIntel"
  std::vector<Part> parts;           // of the state file
};

// Immutable; any number of threads may use it at once. Machines that were restored from it do not
// need it any more, but the memory file must stay as it is while one of them lives: a page that was
// not yet read is read from there. A file that is cut ends those machines. It is for the process
// to decide what a SIGBUS on one of the machine's own threads means; nothing here installs a
// handler.
class Snapshot {
 public:
  enum class MemoryCheck {
    kVerify,  // reads all of the memory file once and compares it with its digest
    kTrust,   // the caller has verified these very files already
  };
  // Checks everything that can be checked without a VM: format, checksums, sizes.
  static Result<std::shared_ptr<const Snapshot>> open(Fd state, Fd memory,
                                                      MemoryCheck check = MemoryCheck::kVerify);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  [[nodiscard]] const SnapshotFacts& facts() const;

  // For Machine.
  struct Contents;
  [[nodiscard]] const Contents& contents() const { return *contents_; }

 private:
  explicit Snapshot(std::unique_ptr<Contents> contents);
  std::unique_ptr<Contents> contents_;
};

}  // namespace thimble
