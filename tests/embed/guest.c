/* The guest of the examples: /init of an initramfs, linked statically. Gives back each line that is
 * typed at its console; a line that begins with q ends it.
 *
 *   cc -static -o init guest.c && echo init | cpio -o -H newc >initrd.cpio
 */
#include <stdio.h>
#include <sys/reboot.h>

int main(void) {
  char line[256];
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof(line), stdin) != NULL && line[0] != 'q') {
    printf("heard: %s", line);
    fflush(stdout);
  }
  reboot(RB_AUTOBOOT);
  return 1;
}
