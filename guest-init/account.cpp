#include "guest-init/account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/lookup.h"

namespace thimble::init {

namespace {

using protocol::kStepUser;

constexpr size_t kMaxDatabase = size_t{64} * 1024;  // passwd, group

// Reads a whole small file; an absent one is empty. False with errno EFBIG when it is too large.
bool read_database(const char* path, char* buffer, Bytes& content) {
  content = {buffer, 0};
  const int fd =
      open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // init waits: no FIFO may hold it up
  if (fd < 0) return true;
  ssize_t got = 0;
  while (content.size < kMaxDatabase &&
         (got = read(fd, buffer + content.size, kMaxDatabase - content.size)) > 0) {
    content.size += static_cast<size_t>(got);
  }
  close(fd);
  errno = EFBIG;
  return content.size < kMaxDatabase;
}

// Cut when it does not fit; an empty one stays empty.
void copy(Bytes from, char* to, size_t capacity) {
  const size_t size = from.size < capacity ? from.size : capacity - 1;
  if (size) memcpy(to, from.data, size);
  to[size] = '\0';
}

// Makes a directory with its parents; `made` tells whether it was missing.
bool make_path(const char* path, bool& made) {
  char part[PATH_MAX];
  copy(bytes_of(path), part, sizeof part);
  for (char* slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (mkdir(part, 0755) < 0 && errno != EEXIST) return false;
    *slash = '/';
  }
  made = mkdir(part, 0755) == 0;
  return made || errno == EEXIST;
}

bool make_home(const Account& account, const char* home, Failure& failure) {
  bool made = false;
  struct stat status;
  if (!make_path(home, made) || lstat(home, &status) < 0) {
    return fail(failure, kStepUser, errno, "make the home %.150s", home);
  }
  // The images' own homes are root's, as every file in them.
  const bool unclaimed = status.st_uid == 0 && strncmp(home, "/home/", 6) == 0;
  if ((made || unclaimed) && lchown(home, account.uid, account.gid) < 0) {
    return fail(failure, kStepUser, errno, "give the home %.150s to user %u", home, account.uid);
  }
  return true;
}

// `variable` is "NAME=value" and stays where it is.
void add_variable(Start& start, const char* name, char* variable) {
  if (find_variable(start.environment, name)) return;
  if (start.environment_count == Start::kEnvironmentRoom) return;
  start.environment[start.environment_count++] = variable;
  start.environment[start.environment_count] = nullptr;
}

}  // namespace

bool find_account(const char* spec, const char* passwd_path, const char* group_path,
                  Account& account, Failure& failure) {
  static char passwd_text[kMaxDatabase];
  static char group_text[kMaxDatabase];
  Bytes passwd;
  Bytes group;
  if (!read_database(passwd_path, passwd_text, passwd)) {
    return fail(failure, kStepUser, errno, "read %s", passwd_path);
  }
  if (!read_database(group_path, group_text, group)) {
    return fail(failure, kStepUser, errno, "read %s", group_path);
  }
  UserEntry user;
  const UserLookup found = resolve_user(bytes_of(spec), passwd, group, user);
  if (found != UserLookup::kFound) {
    const char* const what = found == UserLookup::kNoUser ? "user" : "group";
    return fail(failure, kStepUser, ENOENT, "find the %s of '%.100s' in the image", what, spec);
  }
  account.uid = user.uid;
  account.gid = account.groups[0] = user.gid;
  account.group_count = 1;
  copy(user.name, account.name, sizeof account.name);
  copy(user.home, account.home, sizeof account.home);
  if (account.home[0] != '/') snprintf(account.home, sizeof account.home, "/home/%u", user.uid);
  if (!strchr(spec, ':') && user.name.size) {
    account.group_count +=
        find_memberships(group, user.name, user.gid, account.groups + 1, Account::kMaxGroups - 1);
  }
  return true;
}

void list_account(const Account& account, const char* passwd_path) {
  if (account.name[0]) return;
  const int fd =
      open(passwd_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (fd < 0) return;
  char entry[sizeof account.home + 64];
  char last = '\n';
  const off_t size = lseek(fd, 0, SEEK_END);
  const bool unfinished = size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
  const int length =
      snprintf(entry, sizeof entry, "%suser%u:x:%u:%u::%s:/bin/sh\n", unfinished ? "\n" : "",
               account.uid, account.uid, account.gid, account.home);
  if (write(fd, entry, static_cast<size_t>(length)) != length) {
    // A full layer in memory: as without an entry.
  }
  close(fd);
}

bool settle_account(Account& account, Start& start, Failure& failure) {
  static char home[sizeof account.home + 8];
  static char user[sizeof account.name + 8];
  static char login[sizeof account.name + 8];
  snprintf(home, sizeof home, "HOME=%s", account.home);
  snprintf(user, sizeof user, "USER=%s", account.name);
  snprintf(login, sizeof login, "LOGNAME=%s", account.name);
  add_variable(start, "HOME", home);
  if (account.name[0]) {
    add_variable(start, "USER", user);
    add_variable(start, "LOGNAME", login);
  }
  const char* const wanted = find_variable(start.environment, "HOME");
  // What the host has set for HOME is its own matter, but for the account's own.
  return strcmp(wanted ? wanted : "", account.home) != 0 ||
         make_home(account, account.home, failure);
}

bool become(const Account& account, Failure& failure) {
  if (setgroups(account.group_count, account.groups) == 0 && setgid(account.gid) == 0 &&
      setuid(account.uid) == 0) {
    return true;
  }
  return fail(failure, kStepUser, errno, "become user %u, group %u", account.uid, account.gid);
}

}  // namespace thimble::init
