// The smallest stdio server that speaks enough of MCP for a figure: answers `initialize` and `ping`
// with the id of the request. The lines are those that stopwatch sends: one object, id a number.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace {

void answer(const char* line) {
  const char* id = strstr(line, "\"id\":");
  if (id == nullptr) return;  // a notification
  const char* result = strstr(line, "\"initialize\"") == nullptr
                           ? "{}"
                           : "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},"
                             "\"serverInfo\":{\"name\":\"ping\",\"version\":\"1\"}}";
  char out[256];
  const int n = snprintf(out, sizeof out, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"result\":%s}\n",
                         strtol(id + 5, nullptr, 10), result);
  if (write(STDOUT_FILENO, out, (size_t)n) != n) _exit(1);
}

}  // namespace

int main() {
  static char buffer[65536];
  size_t held = 0;
  for (;;) {
    const ssize_t n = read(STDIN_FILENO, buffer + held, sizeof buffer - 1 - held);
    if (n <= 0) return 0;
    held += (size_t)n;
    buffer[held] = 0;
    char* line = buffer;
    while (char* end = strchr(line, '\n')) {
      *end = 0;
      answer(line);
      line = end + 1;
    }
    held -= (size_t)(line - buffer);
    memmove(buffer, line, held);
  }
}
