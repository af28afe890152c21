// PID 1 of the restore figures: writes a byte to the console again and again, so that whoever
// restores the guest hears of it soon. The pause is short beside a restore.
#include <time.h>
#include <unistd.h>

namespace {

void say(const char* text, size_t size) {
  if (write(STDOUT_FILENO, text, size) < 0) _exit(1);
}

}  // namespace

int main() {
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 200'000};
  say("ticking\n", 8);
  for (;;) {
    nanosleep(&kPause, nullptr);
    say(".", 1);
  }
}
