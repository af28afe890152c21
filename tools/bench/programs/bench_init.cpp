// PID 1 of the boot figures: one write to the console, which is what they wait for.
//
// With the word `phases` on the kernel's command line it prints, after that, the kernel's own log
// with its times, so that the time before the mark can be divided.
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

void say(const char* text, size_t size) {
  if (write(STDOUT_FILENO, text, size) < 0) _exit(1);
}

void say(const char* text) { say(text, strlen(text)); }

// Every record of the kernel's log: "level,sequence,microseconds,flags;text".
void print_kernel_log(int log) {
  char record[8192];
  for (;;) {
    const ssize_t n = read(log, record, sizeof record);
    if (n <= 0) return;
    say(record, static_cast<size_t>(n));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool phases = argc > 1 && strcmp(argv[1], "phases") == 0;
  int log = -1;
  if (phases) {
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, "");
    log = open("/dev/kmsg", O_RDWR | O_NONBLOCK);
    if (write(log, "<7>init-starts\n", 15) < 0) say("no /dev/kmsg\n");
  }
  say("init-is-here\n");
  if (phases) {
    if (write(log, "<7>init-has-written\n", 20) < 0) say("no /dev/kmsg\n");
    print_kernel_log(log);
    say("log-ends\n");
  }
  sync();
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}
