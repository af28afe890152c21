#include "guest-init/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

namespace thimble::init {

size_t read_file(const char* path, char* buffer, size_t capacity) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  size_t size = 0;
  while (fd >= 0 && size < capacity - 1) {
    const ssize_t got = read(fd, buffer + size, capacity - 1 - size);
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  if (fd >= 0) close(fd);
  buffer[size] = '\0';
  return size;
}

bool write_file(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const size_t length = strlen(text);
  const ssize_t put = write(fd, text, length);
  const int error = put < 0 ? errno : EIO;
  close(fd);
  errno = error;
  return put == static_cast<ssize_t>(length);
}

}  // namespace thimble::init
