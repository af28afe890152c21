// Who the server is when the host names a user: ids, further groups, home. From the image's passwd
// and group files, as login(1) would take them.
#pragma once

#include <limits.h>

#include "guest-init/codec.h"

namespace thimble::init {

struct Account {
  static constexpr size_t kMaxGroups = 64;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t groups[kMaxGroups] = {};  // the primary one first
  size_t group_count = 0;
  char name[64] = {};        // empty for a number that has no entry
  char home[PATH_MAX] = {};  // absolute
};

// `spec` as in kTagUser. A group that is named is the only one; otherwise the primary one and all
// that list the user. Without an entry the home is /home/UID.
[[nodiscard]] bool find_account(const char* spec, const char* passwd_path, const char* group_path,
                                Account& account, Failure& failure);

// Where the server's environment has no HOME, USER or LOGNAME, it gets the account's. The home is
// made where it is missing, and becomes the user's where it is one below /home that still is
// root's: so it can be written. `account` must outlive the environment.
[[nodiscard]] bool settle_account(Account& account, Start& start, Failure& failure);

// A number without an entry gets one, so that programs that ask who they are find an answer
// (getpwuid(3), os.userInfo()). Where that cannot be written, they do without.
void list_account(const Account& account, const char* passwd_path);

// From here on this process is the user.
[[nodiscard]] bool become(const Account& account, Failure& failure);

}  // namespace thimble::init
