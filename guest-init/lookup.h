// Small parsers over text that comes from elsewhere: the kernel command line, the image's passwd
// and group files, PATH. They only look at memory, so that tests can feed them anything.
#pragma once

#include "guest-init/bytes.h"

namespace thimble::init {

// The value of the last `key=value` word of a kernel command line; copies it into `value` with a
// NUL. False when there is none or it does not fit.
[[nodiscard]] bool find_option(Bytes command_line, const char* key, char* value, size_t capacity);

// A decimal number without sign or blanks that fits 32 bits and is not the "no change" id (2^32-1).
[[nodiscard]] bool parse_id(Bytes text, uint32_t& id);

// passwd(5). `name` and `home` are parts of the text that was searched.
struct UserEntry {
  uint32_t uid = 0;
  uint32_t gid = 0;
  Bytes name;
  Bytes home;
};
// By name, or by number when `name` is one.
[[nodiscard]] bool find_user(Bytes passwd, Bytes name, UserEntry& entry);
// group(5).
[[nodiscard]] bool find_group(Bytes group, Bytes name, uint32_t& gid);
// The groups that list the user among their members, but for `primary`; how many of them were
// found, `capacity` at most.
[[nodiscard]] size_t find_memberships(Bytes group, Bytes user, uint32_t primary, uint32_t* gids,
                                      size_t capacity);

enum class UserLookup { kFound, kNoUser, kNoGroup };
// "uid", "name", "uid:gid", "name:group". A number needs no entry: its group is then 0, its name
// and home are empty.
[[nodiscard]] UserLookup resolve_user(Bytes spec, Bytes passwd, Bytes group, UserEntry& user);

// Yields the file names that execvpe(3) would try for a command: itself when it has a slash,
// otherwise one for each directory of PATH (an empty one is the working directory).
class CommandSearch {
 public:
  // `path` is the value of PATH; null takes kDefaultPath. Both must outlive the search.
  CommandSearch(const char* command, const char* path);
  // Writes the next candidate; skips those that do not fit. False when there is none left.
  [[nodiscard]] bool next(char* candidate, size_t capacity);

 private:
  const char* command_;
  const char* rest_;  // null when done
  bool plain_;        // the command names a file by itself
};

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The value of a variable in a null-terminated environment; null when absent.
[[nodiscard]] const char* find_variable(char* const* environment, const char* name);

}  // namespace thimble::init
