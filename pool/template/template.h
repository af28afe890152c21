// A template: a frozen VM on disk, from which clones are started. One folder each:
//
//   state       the machine's state         thimble/snapshot.h
//   memory      the guest's memory, sparse
//   working     the pages that a clone's first requests touch (vmm/snapshot/working_set.h), once a
//               clone has recorded them
//   template    what a clone needs besides: JSON, TemplateFacts. Its time of change is that of the
//               last use
//
// The memory holds whatever the server had loaded, keys included: the folder is 0700 and its files
// 0600, and nothing that somebody else has put there is used (devices/base/owned_folder.h). It
// appears whole or not at all (made beside, then renamed); clones that run keep the files of a
// template that was removed or replaced.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/base/file_lock.h"
#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"
#include "pool/guest/guest_control.h"
#include "pool/template/freeze.h"
#include "pool/vm/vm_process.h"

namespace thimble {

struct TemplateFacts {
  struct DiskFile {
    std::string path;
    std::string name;
  };
  FreezeRequest::Point point = FreezeRequest::Point::kReady;
  uint64_t memory_bytes = 0;
  unsigned vcpus = 1;
  std::vector<DiskFile> disks;  // in the order of the machine
  ServerSpec server;            // frozen before exec: what each clone starts
  // Names of variables that each clone's server gets from whoever starts the clone: their values
  // are not kept.
  std::vector<std::string> inherited;
  std::vector<std::string> command;  // for people: what was frozen
  std::string note;                  // for people: why it is not frozen ready, if that was tried
  uint64_t created = 0;              // seconds since 1970
  // The memory file as it was when its content was verified last: inode, size, times. A file for
  // which these still hold needs no second reading.
  std::string memory_mark;
};

std::string template_to_json(const TemplateFacts& facts);
// Refuses anything that is not wholly sound; `where` names the file in the message.
FileResult<TemplateFacts> template_from_json(std::string_view text, const std::string& where);

// The folder of all templates of a user.
class TemplateStore {
 public:
  // Makes it when it is missing.
  static Result<TemplateStore> open(const std::filesystem::path& folder);

  [[nodiscard]] std::filesystem::path folder() const { return folder_.path(); }
  [[nodiscard]] std::vector<std::string> names() const;  // sorted
  [[nodiscard]] std::filesystem::path path_of(const std::string& name) const;
  FileResult<TemplateFacts> facts(const std::string& name) const;
  [[nodiscard]] bool has(const std::string& name) const;
  // Bytes on the disk.
  [[nodiscard]] uint64_t stored_bytes(const std::string& name) const;
  // Seconds since 1970; 0 for a template that is not there.
  [[nodiscard]] uint64_t last_use(const std::string& name) const;
  Result<void> remove(const std::string& name) const;
  // Removes what was left by makers that were killed, and notes that count no more or that are so
  // old. Done by stage(), too.
  void sweep(std::chrono::seconds unused_for = std::chrono::seconds::max()) const;

  // Why the last try to make `name` failed. It is not made again by itself for so long: it may have
  // been the server, or a disk that was full. A template that is made or removed has no failure,
  // and a change of anything is another template.
  static constexpr std::chrono::minutes kFailureCounts{10};
  void note_failure(const std::string& name, const std::string& why) const;
  // What `name` stands for can never be frozen: that counts until the template is made on demand,
  // or for so long. A failure() like others.
  static constexpr std::chrono::days kRefusalCounts{30};
  void note_refusal(const std::string& name, const std::string& why) const;
  [[nodiscard]] std::optional<std::string> failure(const std::string& name) const;
  // The names that failure() has something for, sorted.
  [[nodiscard]] std::vector<std::string> failures() const;

  // The files of a template for one clone, its memory verified (or known to be).
  struct Opened {
    TemplateFacts facts;
    SnapshotFiles files;
    std::optional<OwnedFolder> folder;
  };
  // Advice for later clones. Kept by this very template, even if another one has its name by now.
  static Result<void> keep_working_set(const Opened& of, std::span<const uint8_t> set);

  // Counts as a use. Only what is missing or unsound is worth making anew.
  FileResult<Opened> open_template(const std::string& name) const;

  // A template that is being made; gone with this object unless it was published.
  class Staging {
   public:
    Staging(Staging&& other) noexcept;
    Staging& operator=(Staging&&) = delete;
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;
    ~Staging();
    // The two empty files; the caller's.
    Result<SnapshotFiles> files() const;
    // Makes it durable and gives it its name, in place of one that has it.
    Result<void> publish(TemplateFacts facts);

   private:
    friend class TemplateStore;
    Staging(OwnedFolder store, OwnedFolder folder, std::string staging, std::string name)
        : store_(std::move(store)),
          folder_(std::move(folder)),
          staging_name_(std::move(staging)),
          name_(std::move(name)) {}
    [[nodiscard]] FileResult<void> take_its_name();
    OwnedFolder store_;
    OwnedFolder folder_;        // locked, as long as its maker lives
    std::string staging_name_;  // its name until then; empty once it has its own, or was moved from
    std::string name_;
  };
  Result<Staging> stage(const std::string& name) const;

  // Held by the one process that makes `name`; empty while another holds it.
  Result<std::optional<FileLock>> lock(const std::string& name) const;

 private:
  explicit TemplateStore(OwnedFolder folder) : folder_(std::move(folder)) {}
  [[nodiscard]] FileResult<OwnedFolder> open_folder_of(const std::string& name) const;
  void note(const char* prefix, const std::string& name, const std::string& why) const;
  OwnedFolder folder_;
};

}  // namespace thimble
