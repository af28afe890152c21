// A static program that is a server: it stands in for what a Go compiler makes, which is not here.
#include <stdio.h>
#include <string.h>

int main(void) {
  static char line[65536];
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    const char* id = strstr(line, "\"id\":");
    if (!id) continue;
    const int list = strstr(line, "tools/list") != NULL;
    printf("{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":%s}\n", id[5] - '0',
           list ? "{\"tools\":[{\"name\":\"program\",\"inputSchema\":{\"type\":\"object\"}}]}"
                : "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},"
                  "\"serverInfo\":{\"name\":\"program\",\"version\":\"1\"}}");
  }
  return 0;
}
