// A folder of our own, held open. Caches, templates, snapshots and sockets lie in such folders, and
// whoever else could put something there would decide what we run or overwrite.
//
// Owner and mode are looked at by the descriptor, and everything in the folder is done by that
// descriptor: what others do to the names above it cannot put another folder in its place. They can
// hide it, and the one that they put there is refused, so the folders above are not looked at.
//
// In it no link is followed at any step, nothing is waited for (a FIFO opens at once and is
// refused), and a file counts only when it is a regular one of ours or of root's. What is written
// to in place has one name only. Names are relative and may have folders in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/base/file_fault.h"
#include "devices/fd.h"

namespace thimble {

struct FolderRules {
  // Without it nobody else may enter.
  bool others_may_read = false;
  // The path's last step may be a link: one that a user has named.
  bool may_be_link = false;
  // What to do when it is somebody else's.
  std::string_view if_foreign = "name a folder of your own";
};

class OwnedFolder {
 public:
  static FileResult<OwnedFolder> open(const std::string& path, const FolderRules& rules = {});
  // Made (0700), with those above it, when it is missing.
  static FileResult<OwnedFolder> make(const std::string& path, const FolderRules& rules = {});
  // In a folder of anybody's that is open as `parent`: one that is there, and one that must not be.
  // `path` is what messages call it.
  static FileResult<OwnedFolder> open_in(int parent, const std::string& name, std::string path,
                                         const FolderRules& rules = {});
  static FileResult<OwnedFolder> make_new(int parent, const std::string& name, std::string path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string path_of(std::string_view name) const;
  [[nodiscard]] int fd() const { return fd_.get(); }
  // A second descriptor of it.
  [[nodiscard]] OwnedFolder share() const;
  // A way to `name` by our descriptor, in this process only: for sockets, whose paths are short.
  [[nodiscard]] std::string way_to(std::string_view name) const;

  [[nodiscard]] FileResult<OwnedFolder> folder(const std::string& name) const;
  // One that is there already will do. The folders above `name` are there.
  [[nodiscard]] FileResult<OwnedFolder> make_folder(const std::string& name) const;

  [[nodiscard]] FileResult<Fd> read(const std::string& name) const;
  // All of it; more than `limit` bytes are no such file.
  [[nodiscard]] FileResult<std::string> content(const std::string& name, size_t limit) const;
  // A new one (0600), for reading and writing.
  [[nodiscard]] FileResult<Fd> create(const std::string& name) const;
  // For reading and writing, or with O_APPEND in `more`; made (0600) when it is missing.
  [[nodiscard]] FileResult<Fd> write_to(const std::string& name, int more = 0) const;

  enum class Durable { kNo, kYes };
  // Appears whole under its name, in place of what has it.
  [[nodiscard]] FileResult<void> replace(const std::string& name, std::string_view content,
                                         Durable durable) const;
  // A file or link; one that is not there is gone already.
  [[nodiscard]] FileResult<void> remove(const std::string& name) const;
  // Whether `name` is what is open as `fd`, and not something in its place.
  [[nodiscard]] bool is_still(int fd, const std::string& name) const;
  // All that is in it, sorted.
  [[nodiscard]] FileResult<std::vector<std::string>> names() const;

 private:
  OwnedFolder(Fd fd, std::string path, bool others_may_read)
      : fd_(std::move(fd)), path_(std::move(path)), others_may_read_(others_may_read) {}
  static FileResult<OwnedFolder> look_at(Fd fd, std::string path, const FolderRules& rules);
  [[nodiscard]] FileResult<Fd> open_file(const std::string& name, int flags) const;

  Fd fd_;
  std::string path_;
  bool others_may_read_;
};

}  // namespace thimble
