#include "guest-init/idle.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest-init/small_file.h"

namespace thimble::init {

namespace {

// What is looked at of one thread, with buffers that every step may use.
struct Thread {
  pid_t process;
  pid_t thread;
  ino_t input;  // inode of the server's stdin pipe
};

constexpr size_t kFileBytes = size_t{16} * 1024;
constexpr size_t kMaxPolled = 256;
constexpr size_t kMaxSelected = 1024;

// The start of the next line, null after the last.
const char* next_line(const char* line) {
  const char* const end = strchr(line, '\n');
  return end && end[1] ? end + 1 : nullptr;
}

// The word number `index` of a line, counted from 0; null when there are fewer.
const char* word(const char* line, int index) {
  for (;;) {
    while (*line == ' ') ++line;
    if (!*line || *line == '\n') return nullptr;
    if (index-- == 0) return line;
    while (*line && *line != ' ' && *line != '\n') ++line;
  }
}

// Whether a table of sockets (/proc/net/tcp, /proc/net/unix) lists this inode as listening: the
// word number `mark_at` is `mark`.
bool lists_listener(const char* table, int mark_at, const char* mark, int inode_at, ino_t inode) {
  static char content[kFileBytes];
  if (read_file(table, content, sizeof content) == 0) return false;
  for (const char* line = content; line; line = next_line(line)) {
    const char* const state = word(line, mark_at);
    const char* const number = word(line, inode_at);
    if (state && number && strncmp(state, mark, strlen(mark)) == 0 &&
        strtoull(number, nullptr, 10) == inode) {
      return true;
    }
  }
  return false;
}

bool is_listening(ino_t inode) {
  return lists_listener("/proc/net/tcp", 3, "0A", 9, inode) ||
         lists_listener("/proc/net/tcp6", 3, "0A", 9, inode) ||
         lists_listener("/proc/net/unix", 3, "00010000", 6, inode);
}

// Whether the server's descriptor `fd` is its stdin's pipe (wherever it was moved to) or a
// listener.
bool is_entrance(const Thread& who, uint64_t fd) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%llu", who.process, static_cast<unsigned long long>(fd));
  struct stat found;
  if (stat(path, &found) < 0) return false;
  if (S_ISFIFO(found.st_mode)) return found.st_ino == who.input;
  return S_ISSOCK(found.st_mode) && is_listening(found.st_ino);
}

size_t read_memory(const Thread& who, uint64_t address, void* buffer, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", who.process);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t got = fd < 0 ? -1 : pread(fd, buffer, size, static_cast<off_t>(address));
  if (fd >= 0) close(fd);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

bool polls_entrance(const Thread& who, uint64_t address, uint64_t count) {
  static pollfd entries[kMaxPolled];
  if (count > kMaxPolled) count = kMaxPolled;
  const size_t got = read_memory(who, address, entries, count * sizeof entries[0]);
  for (size_t i = 0; i < got / sizeof entries[0]; ++i) {
    if (entries[i].fd >= 0 && (entries[i].events & POLLIN) &&
        is_entrance(who, static_cast<uint64_t>(entries[i].fd))) {
      return true;
    }
  }
  return false;
}

bool selects_entrance(const Thread& who, uint64_t count, uint64_t address) {
  unsigned char bits[kMaxSelected / 8] = {};
  if (count > kMaxSelected) count = kMaxSelected;
  if (!address || !read_memory(who, address, bits, (count + 7) / 8)) return false;
  for (uint64_t fd = 0; fd < count; ++fd) {
    if ((bits[fd / 8] >> (fd % 8) & 1) && is_entrance(who, fd)) return true;
  }
  return false;
}

// The watched descriptors of an epoll instance stand in its fdinfo as "tfd: N events: …".
bool epolls_entrance(const Thread& who, uint64_t epoll) {
  static char content[kFileBytes];
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fdinfo/%llu", who.process,
           static_cast<unsigned long long>(epoll));
  read_file(path, content, sizeof content);
  for (const char* line = content; line; line = next_line(line)) {
    if (strncmp(line, "tfd:", 4) == 0 && is_entrance(who, strtoull(line + 4, nullptr, 10))) {
      return true;
    }
  }
  return false;
}

// "NUMBER 0xARG0 0xARG1 …", or "running", or "-1 …" outside of a system call.
bool awaits_client(const Thread& who) {
  char path[64];
  char content[256];
  snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", who.process, who.thread);
  if (read_file(path, content, sizeof content) == 0 || !isdigit(content[0])) return false;
  char* at = content;
  const unsigned long call = strtoul(at, &at, 10);
  const uint64_t first = strtoull(at, &at, 16);
  const uint64_t second = strtoull(at, &at, 16);
  switch (call) {
    case SYS_read:
    case SYS_readv:
    case SYS_accept:
    case SYS_accept4:
      return is_entrance(who, first);
    case SYS_poll:
    case SYS_ppoll:
      return polls_entrance(who, first, second);
    case SYS_select:
    case SYS_pselect6:
      return selects_entrance(who, first, second);
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
      return epolls_entrance(who, first);
    default:
      return false;
  }
}

// "PID (NAME) STATE …"; the name may hold anything, so the state is behind the last parenthesis.
void look_at_thread(const Thread& who, IdleLook& look) {
  char path[64];
  char content[512];
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", who.process, who.thread);
  if (read_file(path, content, sizeof content) == 0) return;  // it has just ended
  const char* const name_end = strrchr(content, ')');
  if (!name_end || name_end[1] == '\0') return;
  const char state = name_end[2];
  if (state == 'Z' || state == 'X') return;
  const char* fields = name_end + 2;
  const char* const user = word(fields, 11);
  const char* const system = word(fields, 12);
  if (user && system) {
    look.cpu_us += (strtoull(user, nullptr, 10) + strtoull(system, nullptr, 10)) * 10000;
  }
  if (state != 'S') {
    look.blocked = false;
    const char* const name = strchr(content, '(');
    snprintf(look.reason, sizeof look.reason, "thread %d %.*s is in state %c", who.thread,
             name ? static_cast<int>(name_end - name + 1) : 0, name ? name : "", state);
    return;
  }
  if (!look.awaits) look.awaits = awaits_client(who);
}

// Calls `visit` for every number that names an entry of the directory.
template <class Visit>
void for_each_number(const char* directory, Visit visit) {
  alignas(8) char buffer[2048];
  const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  long got = 0;
  while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name.
    for (long at = 0; at < got;) {
      uint16_t length;
      memcpy(&length, buffer + at + 16, sizeof length);
      const char* const name = buffer + at + 19;
      if (isdigit(name[0])) visit(static_cast<pid_t>(strtol(name, nullptr, 10)));
      at += length;
    }
  }
  close(fd);
}

}  // namespace

void look_at_server(const char* processes, int input, IdleLook& look) {
  look = IdleLook{};
  look.blocked = true;
  struct stat pipe = {};
  if (input >= 0 && fstat(input, &pipe) < 0) pipe.st_ino = 0;
  static char pids[kFileBytes];
  if (read_file(processes, pids, sizeof pids) == 0) {
    look.blocked = false;
    snprintf(look.reason, sizeof look.reason, "it has no process");
    return;
  }
  for (const char* line = pids; line; line = next_line(line)) {
    const pid_t process = static_cast<pid_t>(strtol(line, nullptr, 10));
    char tasks[64];
    snprintf(tasks, sizeof tasks, "/proc/%d/task", process);
    for_each_number(tasks, [&](pid_t thread) {
      look_at_thread({process, thread, input >= 0 ? pipe.st_ino : 0}, look);
    });
  }
  if (look.blocked && !look.awaits) {
    snprintf(look.reason, sizeof look.reason,
             "it waits for neither its standard input nor a client");
  }
}

bool IdleWatch::settled(const IdleLook& look, uint64_t now_ms) {
  if (!look.blocked || !look.awaits) {
    quiet_ = false;
    return false;
  }
  if (!quiet_ || look.cpu_us != cpu_us_) {
    quiet_ = true;
    since_ms_ = now_ms;
    cpu_us_ = look.cpu_us;
    return false;
  }
  return now_ms - since_ms_ >= kSettleMs;
}

}  // namespace thimble::init
