#include "guest-init/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest-init/identity.h"
#include "guest-init/small_file.h"

namespace thimble::init {

namespace {

// What follows the word `name` and its colon at the start of a line; empty without one.
Bytes status_field(Bytes status, const char* name) {
  const Bytes key = bytes_of(name);
  while (status.size) {
    const void* const newline = memchr(status.data, '\n', status.size);
    const size_t length = newline
                              ? static_cast<size_t>(static_cast<const char*>(newline) - status.data)
                              : status.size;
    if (length > key.size && equal({status.data, key.size}, key) && status.data[key.size] == ':') {
      size_t at = key.size + 1;
      while (at < length && (status.data[at] == ' ' || status.data[at] == '\t')) ++at;
      return {status.data + at, length - at};
    }
    const size_t used = length + (newline ? 1 : 0);
    status = {status.data + used, status.size - used};
  }
  return {};
}

bool has_ended(Bytes status) {
  const Bytes state = status_field(status, "State");
  return state.size && (state.data[0] == 'Z' || state.data[0] == 'X');
}

// "/usr/bin/python3.11"
bool is_python(Bytes executable) {
  const char* const slash =
      static_cast<const char*>(memrchr(executable.data, '/', executable.size));
  if (!slash) return false;
  const Bytes name = {slash + 1,
                      executable.size - static_cast<size_t>(slash + 1 - executable.data)};
  constexpr size_t kPrefix = sizeof "python3" - 1;
  if (name.size < kPrefix || !equal({name.data, kPrefix}, bytes_of("python3"))) return false;
  for (size_t i = kPrefix; i < name.size; ++i) {
    if (name.data[i] != '.' && (name.data[i] < '0' || name.data[i] > '9')) return false;
  }
  return true;
}

// Line by line: the maps of a large runtime are longer than what init has room for. A line that is
// too long is none of ours.
bool maps_marked(pid_t process) {
  static char buffer[8192];
  snprintf(buffer, sizeof buffer, "/proc/%d/maps", process);
  const int fd = open(buffer, O_RDONLY | O_CLOEXEC);
  size_t held = 0;
  bool found = false;
  ssize_t got = 0;
  while (fd >= 0 && !found && (got = read(fd, buffer + held, sizeof buffer - held)) > 0) {
    held += static_cast<size_t>(got);
    size_t begin = 0;
    while (const void* const newline = memchr(buffer + begin, '\n', held - begin)) {
      const size_t end = static_cast<size_t>(static_cast<const char*>(newline) - buffer);
      found = found || has_reseed_mark({buffer + begin, end - begin});
      begin = end + 1;
    }
    held -= begin;
    if (held == sizeof buffer) held = 0;
    memmove(buffer, buffer + begin, held);
  }
  if (fd >= 0) close(fd);
  return found;
}

// False when it keeps nothing, or what it keeps is reseeded.
bool is_unreseeded(pid_t process, char* who, size_t capacity) {
  static char status[4096];
  char executable[PATH_MAX];
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/status", process);
  const Bytes facts = {status, read_file(path, status, sizeof status)};
  if (facts.size == 0 || has_ended(facts)) return false;
  snprintf(path, sizeof path, "/proc/%d/exe", process);
  const ssize_t length = readlink(path, executable, sizeof executable);
  const Bytes runs = {executable, length > 0 ? static_cast<size_t>(length) : 0};
  if (is_reseeded({runs, facts, maps_marked(process)})) return false;
  const int shown = static_cast<int>(runs.size < 100 ? runs.size : 100);
  snprintf(who, capacity, "process %d (%.*s)", process, shown, executable);
  return true;
}

}  // namespace

bool has_reseed_mark(Bytes line) {
  // "FROM-TO PERMISSIONS OFFSET DEVICE INODE   PATH"
  char offset[24];
  snprintf(offset, sizeof offset, " %08lx ", kReseedMarkOffset);
  const Bytes file = bytes_of(kGenerationFile);
  if (line.size <= file.size || line.data[line.size - file.size - 1] != ' ') return false;
  return equal({line.data + line.size - file.size, file.size}, file) &&
         memmem(line.data, line.size, offset, strlen(offset)) != nullptr;
}

bool catches_sigurg(Bytes status) {
  const Bytes mask = status_field(status, "SigCgt");
  char digits[17] = {};
  if (mask.size != sizeof digits - 1) return false;
  memcpy(digits, mask.data, mask.size);
  return strtoull(digits, nullptr, 16) >> (SIGURG - 1) & 1;
}

bool is_reseeded(const ProcessFacts& facts) {
  return facts.maps_marked || (is_python(facts.executable) && catches_sigurg(facts.status));
}

bool find_unreseeded(const char* processes, char* who, size_t capacity) {
  static char pids[size_t{16} * 1024];
  if (read_file(processes, pids, sizeof pids) == sizeof pids - 1) {
    snprintf(who, capacity, "one of very many processes");  // more than were read
    return true;
  }
  for (char* at = pids; *at;) {
    char* end = at;
    const long process = strtol(at, &end, 10);
    if (end == at) return false;
    if (is_unreseeded(static_cast<pid_t>(process), who, capacity)) return true;
    at = *end == '\n' ? end + 1 : end;
  }
  return false;
}

}  // namespace thimble::init
