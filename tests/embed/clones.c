/* A machine, a snapshot of it and ten clones, in plain C on one thread.
 *
 *   cc -std=c11 clones.c $(pkg-config --cflags --libs thimble) -o clones
 *   clones KERNEL [INITRD]
 *
 * The guest says "ready" on its console and gives back each line that it is told there, until one
 * begins with q: guest.c. The machine is frozen when it is ready; each clone goes on from there.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <thimble/thimble.h>
#include <unistd.h>

enum { CLONES = 10 };

struct vm {
  thimble_machine* machine;
  int output[2]; /* a pipe: the machine's thread writes what the guest says, this one reads it */
  char said[65536];
  size_t size;
};

static void die(thimble_error* error) {
  fprintf(stderr, "clones: %s\n", thimble_error_message(error));
  thimble_error_free(error);
  exit(EXIT_FAILURE);
}

/* On the thread that serves the machine's devices. */
static void on_serial(void* user, const void* bytes, size_t size) {
  struct vm* vm = user;
  if (write(vm->output[1], bytes, size) < 0) thimble_machine_stop(vm->machine);
}

static void open_output(thimble_machine_options* options, struct vm* vm) {
  if (pipe(vm->output) != 0) {
    perror("clones: pipe");
    exit(EXIT_FAILURE);
  }
  thimble_machine_options_on_serial(options, on_serial, vm);
}

static void start(struct vm* vm) {
  thimble_error* error = NULL;
  if (thimble_machine_start(vm->machine, &error) != THIMBLE_OK) die(error);
}

static void read_output(struct vm* vm) {
  const ssize_t n = read(vm->output[0], vm->said + vm->size, sizeof(vm->said) - 1 - vm->size);
  if (n > 0) vm->size += (size_t)n;
  vm->said[vm->size] = '\0';
}

/* Until the guest has said it; false when the machine has ended before. */
static bool wait_for(struct vm* vm, const char* words) {
  struct pollfd ready[2] = {{.fd = vm->output[0], .events = POLLIN},
                            {.fd = thimble_machine_ended_fd(vm->machine), .events = POLLIN}};
  while (strstr(vm->said, words) == NULL) {
    if (poll(ready, 2, -1) < 0) return false;
    if (ready[0].revents != 0) {
      read_output(vm);
    } else if (ready[1].revents != 0) {
      fprintf(stderr, "clones: the machine ended: %s\n", thimble_machine_end_message(vm->machine));
      return false;
    }
  }
  return true;
}

static void type(struct vm* vm, const char* line) {
  thimble_machine_type(vm->machine, line, strlen(line));
}

/* Boots until the guest is ready, and freezes it into two files in memory. */
static thimble_snapshot* boot_and_freeze(thimble_machine_options* options) {
  static struct vm vm;
  thimble_error* error = NULL;
  thimble_snapshot* snapshot = NULL;
  open_output(options, &vm);
  if (thimble_machine_create(options, &vm.machine, &error) != THIMBLE_OK) die(error);
  start(&vm);
  if (!wait_for(&vm, "ready")) exit(EXIT_FAILURE);

  const int state = memfd_create("state", MFD_CLOEXEC);
  const int memory = memfd_create("memory", MFD_CLOEXEC);
  if (thimble_machine_pause(vm.machine, &error) != THIMBLE_OK ||
      thimble_machine_save(vm.machine, state, memory, &error) != THIMBLE_OK ||
      thimble_snapshot_open(state, memory, THIMBLE_MEMORY_VERIFY, &snapshot, &error) !=
          THIMBLE_OK) {
    die(error);
  }
  thimble_machine_free(vm.machine);
  close(state);
  close(memory);
  printf("frozen: %llu KiB of %llu MiB are not zero\n",
         (unsigned long long)thimble_snapshot_stored(snapshot) >> 10,
         (unsigned long long)thimble_snapshot_memory(snapshot) >> 20);
  return snapshot;
}

/* What the clone was told, it gives back; nobody else hears it. */
static bool converse(struct vm* vm, int number) {
  char words[32];
  snprintf(words, sizeof(words), "clone %d.", number);
  type(vm, words);
  type(vm, "\n");
  if (!wait_for(vm, words)) return false;
  printf("%s\n", words);
  type(vm, "q\n");
  return true;
}

int main(int argc, char** argv) {
  static struct vm clones[CLONES];
  thimble_error* error = NULL;
  if (argc < 2) {
    fprintf(stderr, "usage: clones KERNEL [INITRD]\n");
    return 2;
  }
  thimble_machine_options* options = thimble_machine_options_new();
  thimble_machine_options_set_kernel(options, argv[1]);
  if (argc > 2) thimble_machine_options_set_initrd(options, argv[2]);
  thimble_machine_options_set_command_line(options, "console=ttyS0 quiet panic=-1 reboot=k");

  thimble_snapshot* snapshot = boot_and_freeze(options);
  for (int i = 0; i < CLONES; ++i) {
    open_output(options, &clones[i]);
    if (thimble_machine_restore(options, snapshot, &clones[i].machine, &error) != THIMBLE_OK) {
      die(error);
    }
  }
  for (int i = 0; i < CLONES; ++i) start(&clones[i]);

  int status = EXIT_SUCCESS;
  for (int i = 0; i < CLONES; ++i) {
    if (!converse(&clones[i], i)) status = EXIT_FAILURE;
  }
  for (int i = 0; i < CLONES; ++i) {
    if (thimble_machine_wait(clones[i].machine, &error) != THIMBLE_OK) die(error);
    const thimble_end_kind end = thimble_machine_end_kind(clones[i].machine);
    if (end != THIMBLE_END_POWER_OFF && end != THIMBLE_END_RESET) status = EXIT_FAILURE;
    thimble_machine_free(clones[i].machine);
    close(clones[i].output[0]);
    close(clones[i].output[1]);
  }
  thimble_snapshot_free(snapshot);
  thimble_machine_options_free(options);
  return status;
}
