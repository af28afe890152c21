// PID 1 of the restore figures: writes a byte to the console again and again, so that whoever
// restores the guest hears of it soon. The pause is short beside a restore.
//
// Before that it sleeps: a guest that is saved in its first second may find its clock standing
// still for up to a second on a KVM before Linux 6.7, unless its VMM knows (ours does), and that is
// not what the figures are about.
#include <time.h>
#include <unistd.h>

namespace {

void say(const char* text, size_t size) {
  if (write(STDOUT_FILENO, text, size) < 0) _exit(1);
}

}  // namespace

int main() {
  constexpr timespec kChildhood{.tv_sec = 1, .tv_nsec = 200'000'000};
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 200'000};
  nanosleep(&kChildhood, nullptr);
  say("ticking\n", 8);
  for (;;) {
    nanosleep(&kPause, nullptr);
    say(".", 1);
  }
}
