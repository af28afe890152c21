/*
 * thimble as a library for C, and for every language that calls C: virtual machines with a Linux
 * guest, as ordinary objects of your process. docs/embedding.md tells the whole; `pkg-config
 * thimble` has the flags. This part is the machine's level.
 *
 *   thimble_machine_options* options = thimble_machine_options_new();
 *   thimble_machine_options_set_kernel(options, "vmlinux");
 *   thimble_machine_options_on_serial(options, print_bytes, NULL);
 *   thimble_machine* machine = NULL;
 *   thimble_error* error = NULL;
 *   if (thimble_machine_create(options, &machine, &error) != THIMBLE_OK)
 *     complain(thimble_error_message(error));
 *   else
 *     thimble_machine_run(machine, &error);
 *
 * Errors: a function that can fail returns what kind of error it was, THIMBLE_OK if none. Its last
 * argument, when not NULL, points to where a description is put, NULL if there was no error; that
 * is the caller's, to be freed. What the function would have made is NULL, or -1, then. What a
 * guest does wrong is never an error: it is an end of its machine (thimble_machine_end_kind()).
 *
 * Threads: many machines may live in one process; nothing is shared between them. "Any thread"
 * below means: at any time, several at once. Nothing else is to be called for one object by two
 * threads at once. A running machine has a thread for each vCPU besides the one that serves its
 * devices; where the host has no io_uring, one more for each disk.
 *
 * Callbacks come only while a machine runs, or is being made, from the threads that are named with
 * them. They must not throw or longjmp out. In one of them, of the functions for that machine only
 * those may be called that say so; the others answer THIMBLE_ERROR_WRONG_STATE. `user` is given
 * back as it was given, and never looked at; both must last until the machine is freed.
 *
 * Ownership: what was made by …_new, _create, _restore, _prepare or _open is freed by …_free, which
 * takes NULL too. Text that is handed in is copied. Descriptors that are handed in are duplicated,
 * and stay the caller's.
 *
 * Signals: no handler is ever installed. The vCPUs' threads use SIGUSR2, blocked, among themselves.
 *
 * Processes: KVM ties a machine to the process that made it: a child of fork() can do nothing with
 * it but close descriptors. All of the library's are close-on-exec.
 *
 * ABI of libthimble.so.0: functions are added, with a new symbol version; none goes, none changes
 * what it takes. Structures that you hold begin with their size, and grow at their end.
 * Enumerations grow: be ready for values that you do not know.
 */
#ifndef THIMBLE_THIMBLE_H
#define THIMBLE_THIMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THIMBLE_VERSION "0.1.0"

#define THIMBLE_API __attribute__((visibility("default")))
#ifdef __cplusplus
#define THIMBLE_NOTHROW noexcept
#define THIMBLE_ENUM : unsigned /* as C has them: any number may come */
extern "C" {
#else
#define THIMBLE_NOTHROW
#define THIMBLE_ENUM
#endif

/* The version of the library that runs: may be newer than THIMBLE_VERSION. */
THIMBLE_API const char* thimble_version(void) THIMBLE_NOTHROW;

/* ---- errors ------------------------------------------------------------------------------- */

typedef enum thimble_error_kind THIMBLE_ENUM {
  THIMBLE_OK = 0,
  THIMBLE_ERROR_OTHER = 1,       /* of none of these kinds: the message tells */
  THIMBLE_ERROR_INVALID = 2,     /* an argument or option that cannot be, here or anywhere */
  THIMBLE_ERROR_WRONG_STATE = 3, /* not now: not paused, has ended, has run already */
  THIMBLE_ERROR_MISSING = 4,     /* a file that is not there */
  THIMBLE_ERROR_DENIED = 5,      /* the host does not allow it to this user */
  THIMBLE_ERROR_UNSUPPORTED = 6, /* the host, or its kernel, cannot: no KVM */
  THIMBLE_ERROR_CORRUPT = 7,     /* a file is not what it should be, or was cut or altered */
  THIMBLE_ERROR_MISMATCH = 8,    /* sound, but made for something else: another machine or host */
  THIMBLE_ERROR_SHORTAGE = 9     /* no memory, descriptors, disk space: may go well later */
} thimble_error_kind;

typedef struct thimble_error thimble_error;

/* Of NULL: THIMBLE_OK. */
THIMBLE_API thimble_error_kind thimble_error_get_kind(const thimble_error* error) THIMBLE_NOTHROW;
/* For people: what was tried, and what to do about it where that is known. Lives as long as
 * `error`. Of NULL: "". */
THIMBLE_API const char* thimble_error_message(const thimble_error* error) THIMBLE_NOTHROW;
THIMBLE_API void thimble_error_free(thimble_error* error) THIMBLE_NOTHROW;
/* "missing", "wrong state": a word for logs. Never NULL. */
THIMBLE_API const char* thimble_error_kind_name(thimble_error_kind kind) THIMBLE_NOTHROW;

/* ---- options of a machine -----------------------------------------------------------------
 * Used by one thread at a time. They may be used for any number of machines, and freed or changed
 * while those live. A setter that cannot do what it is told, for want of memory or since an
 * argument is wrong, remembers it: making a machine then fails with that error.
 */

typedef struct thimble_machine_options thimble_machine_options;

/* NULL: no memory. */
THIMBLE_API thimble_machine_options* thimble_machine_options_new(void) THIMBLE_NOTHROW;
THIMBLE_API void thimble_machine_options_free(thimble_machine_options* options) THIMBLE_NOTHROW;

/* 16 MiB or more, a multiple of 4 KiB; 128 MiB unless set. A clone has its snapshot's. */
THIMBLE_API void thimble_machine_options_set_memory(thimble_machine_options* options,
                                                    uint64_t bytes) THIMBLE_NOTHROW;
/* 1 to 8; 1 unless set. A clone has its snapshot's. */
THIMBLE_API void thimble_machine_options_set_vcpus(thimble_machine_options* options,
                                                   unsigned vcpus) THIMBLE_NOTHROW;

/* A vmlinux (ELF) or a vmlinuz (bzImage), read while the machine is made. Clones have none. */
THIMBLE_API void thimble_machine_options_set_kernel(thimble_machine_options* options,
                                                    const char* path) THIMBLE_NOTHROW;
/* The same, already open; `name` is for messages. */
THIMBLE_API void thimble_machine_options_set_kernel_fd(thimble_machine_options* options, int fd,
                                                       const char* name) THIMBLE_NOTHROW;
THIMBLE_API void thimble_machine_options_set_initrd(thimble_machine_options* options,
                                                    const char* path) THIMBLE_NOTHROW;
THIMBLE_API void thimble_machine_options_set_initrd_fd(thimble_machine_options* options, int fd,
                                                       const char* name) THIMBLE_NOTHROW;
/* The kernel's command line, of up to 2047 bytes; "" unless set. For a console that
 * thimble_machine_options_on_serial() hears, and an end when the kernel panics:
 * "console=ttyS0 panic=-1 reboot=k". */
THIMBLE_API void thimble_machine_options_set_command_line(thimble_machine_options* options,
                                                          const char* words) THIMBLE_NOTHROW;

typedef enum thimble_kernel_entry THIMBLE_ENUM {
  THIMBLE_ENTRY_AUTO = 0,    /* what the file calls for */
  THIMBLE_ENTRY_LINUX64 = 1, /* Linux' 64-bit entry, of a vmlinux or a bzImage */
  THIMBLE_ENTRY_PVH = 2      /* the 32-bit entry that an ELF note names */
} thimble_kernel_entry;
THIMBLE_API void thimble_machine_options_set_kernel_entry(
    thimble_machine_options* options, thimble_kernel_entry entry) THIMBLE_NOTHROW;

typedef enum thimble_acpi THIMBLE_ENUM {
  THIMBLE_ACPI_AUTO = 0, /* tables, unless the kernel cannot read them */
  THIMBLE_ACPI_ON = 1,   /* the guest finds CPUs and devices by ACPI tables */
  THIMBLE_ACPI_OFF = 2   /* by an MP table, and virtio_mmio.device=… on its command line */
} thimble_acpi;
THIMBLE_API void thimble_machine_options_set_acpi(thimble_machine_options* options,
                                                  thimble_acpi acpi) THIMBLE_NOTHROW;

/* One more disk: /dev/vda, /dev/vdb, … in this order. A regular file or block device of whole
 * sectors (512 bytes), opened here for what `writable` says. Nothing locks it: two machines that
 * write to one file spoil it. */
THIMBLE_API void thimble_machine_options_add_disk(thimble_machine_options* options,
                                                  const char* path, bool writable) THIMBLE_NOTHROW;
/* The same, already open. The guest reads the first 20 bytes of `name` as the disk's serial number;
 * messages have it too. */
THIMBLE_API void thimble_machine_options_add_disk_fd(thimble_machine_options* options, int fd,
                                                     const char* name,
                                                     bool writable) THIMBLE_NOTHROW;

/* Streams between host and guest (virtio-vsock): thimble_machine_connect(). `guest_cid`, 3 or more,
 * is what the guest sees as its own address. Clones may all have the same. */
THIMBLE_API void thimble_machine_options_set_vsock(thimble_machine_options* options,
                                                   uint32_t guest_cid) THIMBLE_NOTHROW;
/* The same, and an AF_UNIX socket at `path`, by which other processes reach the guest: they send
 * "CONNECT <port>\n". Streams that the guest opens go to "<path>_<port>". It is made with the
 * machine and removed with it, so no two machines at once can have the same; what a process leaves
 * that was killed, the next machine with this path replaces. */
THIMBLE_API void thimble_machine_options_set_vsock_path(thimble_machine_options* options,
                                                        uint32_t guest_cid,
                                                        const char* path) THIMBLE_NOTHROW;
/* The guest connects to `port` of the host. Returns a connected byte stream socket to join it with,
 * which the library then owns, or -1 to refuse. On the thread that serves the devices.
 * thimble_machine_stop() and thimble_machine_type() may be called. Needs vsock. */
typedef int (*thimble_guest_connects)(void* user, uint32_t port);
THIMBLE_API void thimble_machine_options_on_guest_connect(thimble_machine_options* options,
                                                          uint32_t port,
                                                          thimble_guest_connects callback,
                                                          void* user) THIMBLE_NOTHROW;

/* A source of random numbers for the guest (virtio-rng); true unless set. */
THIMBLE_API void thimble_machine_options_set_entropy(thimble_machine_options* options,
                                                     bool entropy) THIMBLE_NOTHROW;

/* /dev/kvm, open for reading and writing, for a process that cannot reach it. Opened for each
 * machine unless set. */
THIMBLE_API void thimble_machine_options_set_kvm_fd(thimble_machine_options* options,
                                                    int fd) THIMBLE_NOTHROW;

/* What the guest writes to its serial port, in the pieces in which it comes; `bytes` are gone when
 * the callback returns. On the thread that serves the devices, which wait meanwhile: it should not
 * block. thimble_machine_stop(), _type() and _connect() may be called. */
typedef void (*thimble_serial_output)(void* user, const void* bytes, size_t size);
THIMBLE_API void thimble_machine_options_on_serial(thimble_machine_options* options,
                                                   thimble_serial_output callback,
                                                   void* user) THIMBLE_NOTHROW;
/* thimble_machine_type() did not take everything, and would take more now. On the same thread, and
 * the same may be called. */
typedef void (*thimble_typing_room)(void* user);
THIMBLE_API void thimble_machine_options_on_typing_room(thimble_machine_options* options,
                                                        thimble_typing_room callback,
                                                        void* user) THIMBLE_NOTHROW;
/* One line of the machine's own for a log: which disk backend was chosen, and why. On the thread
 * that makes the machine or any of the machine's own, several at once. */
typedef void (*thimble_notice)(void* user, const char* line);
THIMBLE_API void thimble_machine_options_on_notice(thimble_machine_options* options,
                                                   thimble_notice callback,
                                                   void* user) THIMBLE_NOTHROW;

typedef enum thimble_thread_kind THIMBLE_ENUM {
  THIMBLE_THREAD_VCPU = 0,
  THIMBLE_THREAD_LOOP = 1,       /* serves the devices */
  THIMBLE_THREAD_DISK_WORKER = 2 /* only where the host has no io_uring */
} thimble_thread_kind;
/* Called on each thread before it does anything for the guest, and before the guest's first
 * instruction: the place to confine the thread, or to pin it to a CPU. Anything but 0 ends the
 * machine, with THIMBLE_END_HOST_ERROR and the number in its message. */
typedef int (*thimble_thread_starts)(void* user, thimble_thread_kind kind);
THIMBLE_API void thimble_machine_options_on_thread(thimble_machine_options* options,
                                                   thimble_thread_starts callback,
                                                   void* user) THIMBLE_NOTHROW;

/* ---- a machine ---------------------------------------------------------------------------- */

typedef struct thimble_machine thimble_machine;
typedef struct thimble_snapshot thimble_snapshot;

/* Opens /dev/kvm, maps memory, loads the kernel, makes devices and vCPUs. Nothing runs yet.
 * THIMBLE_ERROR_UNSUPPORTED or _DENIED: no KVM here. _MISSING, _CORRUPT: the kernel's file, or the
 * initrd's. */
THIMBLE_API thimble_error_kind thimble_machine_create(const thimble_machine_options* options,
                                                      thimble_machine** machine,
                                                      thimble_error** error) THIMBLE_NOTHROW;
/* Ends the machine if it runs, waits for that, and frees it. No thread may be about to use it but
 * one in thimble_machine_run() or _wait(), which returns first. In a callback of this machine it
 * only ends the machine; all is freed when that is over, without anybody waiting. */
THIMBLE_API void thimble_machine_free(thimble_machine* machine) THIMBLE_NOTHROW;

/* Runs the machine on this thread, which serves its devices, until it ends. Once. A signal that is
 * blocked here is blocked in the vCPUs' threads too. */
THIMBLE_API thimble_error_kind thimble_machine_run(thimble_machine* machine,
                                                   thimble_error** error) THIMBLE_NOTHROW;
/* The same on a thread of the library's own, with all signals blocked but those of faults. Returns
 * when the machine runs, so that it can be paused at once; or when it has ended. */
THIMBLE_API thimble_error_kind thimble_machine_start(thimble_machine* machine,
                                                     thimble_error** error) THIMBLE_NOTHROW;
/* Waits until a machine that was started, or runs on another thread, has ended. Any thread. */
THIMBLE_API thimble_error_kind thimble_machine_wait(thimble_machine* machine,
                                                    thimble_error** error) THIMBLE_NOTHROW;
/* A descriptor to poll: readable once the machine has ended. The machine's, not to be read or
 * closed. Any thread, and callbacks. Of NULL: -1. */
THIMBLE_API int thimble_machine_ended_fd(const thimble_machine* machine) THIMBLE_NOTHROW;

typedef enum thimble_end_kind THIMBLE_ENUM {
  THIMBLE_END_NONE = 0,           /* it has not ended */
  THIMBLE_END_POWER_OFF = 1,      /* the guest switched itself off */
  THIMBLE_END_RESET = 2,          /* the guest asked for a reset (reboot; a panic with panic=-1) */
  THIMBLE_END_TRIPLE_FAULT = 3,   /* the guest's CPU gave up */
  THIMBLE_END_STOPPED = 4,        /* thimble_machine_stop() */
  THIMBLE_END_INTERNAL_ERROR = 5, /* KVM could not go on: the message has the registers */
  THIMBLE_END_HOST_ERROR = 6      /* the host failed: a thread, a descriptor, memory */
} thimble_end_kind;
/* Why it ended. Any thread, and callbacks. */
THIMBLE_API thimble_end_kind thimble_machine_end_kind(const thimble_machine* machine)
    THIMBLE_NOTHROW;
/* One line for a person, registers on further lines where they help; "" while it has not ended.
 * Lives as long as the machine. Any thread, and callbacks. */
THIMBLE_API const char* thimble_machine_end_message(const thimble_machine* machine) THIMBLE_NOTHROW;

/* Stops the guest: its CPUs, then its devices with nothing under way. No callback comes while it is
 * paused. Any thread. THIMBLE_ERROR_WRONG_STATE: it does not run, is paused already, or ends. */
THIMBLE_API thimble_error_kind thimble_machine_pause(thimble_machine* machine,
                                                     thimble_error** error) THIMBLE_NOTHROW;
/* The guest goes on. Any thread. THIMBLE_ERROR_WRONG_STATE: it is not paused. */
THIMBLE_API thimble_error_kind thimble_machine_resume(thimble_machine* machine,
                                                      thimble_error** error) THIMBLE_NOTHROW;
/* Ends the machine soon, a paused one too, and one that was not run yet. Any thread, and callbacks;
 * not a signal handler. */
THIMBLE_API void thimble_machine_stop(thimble_machine* machine) THIMBLE_NOTHROW;

/* Bytes for the guest's serial port, as typed at its terminal. How many of them were taken, from
 * the first on: at most 4 KiB wait for the guest. Any thread, and callbacks but that of the trace.
 */
THIMBLE_API size_t thimble_machine_type(thimble_machine* machine, const void* bytes,
                                        size_t size) THIMBLE_NOTHROW;

/* A stream to `port` of the guest: `stream` is a connected byte stream socket, the caller's. What
 * is written before the guest has accepted waits; when it refuses or closes it, the stream ends,
 * and when the machine is freed. Any thread, and callbacks but that of the trace. Needs vsock. */
THIMBLE_API thimble_error_kind thimble_machine_connect(thimble_machine* machine, uint32_t port,
                                                       int* stream,
                                                       thimble_error** error) THIMBLE_NOTHROW;

/* ---- a look inside ------------------------------------------------------------------------ */

/* Copies guest memory, from guest physical address `address` on: all of it, or none when not all of
 * it is memory (THIMBLE_ERROR_INVALID). A guest that runs may change bytes meanwhile; pause it for
 * one moment's view. Any thread. */
THIMBLE_API thimble_error_kind thimble_machine_read_memory(const thimble_machine* machine,
                                                           uint64_t address, void* into,
                                                           size_t size,
                                                           thimble_error** error) THIMBLE_NOTHROW;
THIMBLE_API thimble_error_kind thimble_machine_write_memory(thimble_machine* machine,
                                                            uint64_t address, const void* bytes,
                                                            size_t size,
                                                            thimble_error** error) THIMBLE_NOTHROW;

typedef struct thimble_registers {
  size_t size; /* sizeof(thimble_registers), set by the caller before each call */
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t rip, rflags;
  /* The system's: only to be read. */
  uint64_t cr0, cr2, cr3, cr4, efer, fs_base, gs_base, cs;
} thimble_registers;

/* Of a machine that is paused, or was not run yet; vCPUs count from 0. Any thread. */
THIMBLE_API thimble_error_kind thimble_machine_get_registers(const thimble_machine* machine,
                                                             unsigned vcpu,
                                                             thimble_registers* registers,
                                                             thimble_error** error) THIMBLE_NOTHROW;
/* Sets those that every program has, up to rflags; fill it by thimble_machine_get_registers()
 * first. Any thread. */
THIMBLE_API thimble_error_kind thimble_machine_set_registers(thimble_machine* machine,
                                                             unsigned vcpu,
                                                             const thimble_registers* registers,
                                                             thimble_error** error) THIMBLE_NOTHROW;

/* ---- snapshots and clones -----------------------------------------------------------------
 * docs/snapshots.md. A snapshot holds whatever the guest's memory held, secrets too: keep both
 * files private.
 */

/* Writes the state of a machine that is paused, or was not run yet, into two empty files that are
 * open for writing. The machine is not changed and may go on, whether this went well or not; what
 * is in the files after an error is of no use. Making them durable (fsync) is up to the caller. The
 * streams of vsock are not saved. Any thread. */
THIMBLE_API thimble_error_kind thimble_machine_save(thimble_machine* machine, int state_fd,
                                                    int memory_fd,
                                                    thimble_error** error) THIMBLE_NOTHROW;

typedef enum thimble_memory_check THIMBLE_ENUM {
  THIMBLE_MEMORY_VERIFY = 0, /* reads all of the memory file and compares it with its digest */
  THIMBLE_MEMORY_TRUST = 1   /* the caller has verified these very files already */
} thimble_memory_check;
/* Opens a snapshot, after checking all that can be checked without a VM. It never changes: any
 * number of threads may use it at once. A state file that anybody may have written is read with
 * care. Machines that were made from it do not need it any more; the memory file must stay as it is
 * while one of them lives, since it is read when the guest wants it. If it is cut, they end, or a
 * thread of theirs gets a SIGBUS. */
THIMBLE_API thimble_error_kind thimble_snapshot_open(int state_fd, int memory_fd,
                                                     thimble_memory_check check,
                                                     thimble_snapshot** snapshot,
                                                     thimble_error** error) THIMBLE_NOTHROW;
THIMBLE_API void thimble_snapshot_free(thimble_snapshot* snapshot) THIMBLE_NOTHROW;

/* Of the machine that was saved. Numbers of NULL are 0, its texts "". */
THIMBLE_API uint64_t thimble_snapshot_memory(const thimble_snapshot* snapshot) THIMBLE_NOTHROW;
THIMBLE_API unsigned thimble_snapshot_vcpus(const thimble_snapshot* snapshot) THIMBLE_NOTHROW;
/* Bytes of its memory that are not zero: what the file holds. */
THIMBLE_API uint64_t thimble_snapshot_stored(const thimble_snapshot* snapshot) THIMBLE_NOTHROW;
/* Seconds since 1970; 0 if not known. */
THIMBLE_API uint64_t thimble_snapshot_created(const thimble_snapshot* snapshot) THIMBLE_NOTHROW;
/* The release of the kernel that it was made on, and the CPU's vendor as the guest sees it. They
 * live as long as the snapshot. */
THIMBLE_API const char* thimble_snapshot_host_kernel(const thimble_snapshot* snapshot)
    THIMBLE_NOTHROW;
THIMBLE_API const char* thimble_snapshot_cpu_vendor(const thimble_snapshot* snapshot)
    THIMBLE_NOTHROW;

/* A clone: a machine that goes on where the saved one was paused, when it is run. Memory, vCPUs and
 * kernel in `options` are not looked at; disks (of the same size and access, in the same order),
 * vsock and entropy must be the saved machine's: THIMBLE_ERROR_MISMATCH otherwise. All clones share
 * what none of them changed. */
THIMBLE_API thimble_error_kind thimble_machine_restore(const thimble_machine_options* options,
                                                       const thimble_snapshot* snapshot,
                                                       thimble_machine** machine,
                                                       thimble_error** error) THIMBLE_NOTHROW;
/* The same in two steps, the first of which can be taken ahead: a machine of the shape that
 * `options` say, memory and vCPUs with it, that becomes a clone by thimble_machine_claim(). Where
 * it is known already which snapshot that will be, it is `expected`, and may be NULL otherwise. Run
 * without a claim, it runs nothing sensible. */
THIMBLE_API thimble_error_kind thimble_machine_prepare(const thimble_machine_options* options,
                                                       const thimble_snapshot* expected,
                                                       thimble_machine** machine,
                                                       thimble_error** error) THIMBLE_NOTHROW;
/* Once, before the machine is run. After an error it is of no use and is to be freed; nothing of it
 * has run. */
THIMBLE_API thimble_error_kind thimble_machine_claim(thimble_machine* machine,
                                                     const thimble_snapshot* snapshot,
                                                     thimble_error** error) THIMBLE_NOTHROW;

/* ---- trace: for people who work on kernels ------------------------------------------------ */

typedef enum thimble_trace_kind THIMBLE_ENUM {
  THIMBLE_TRACE_PORT_IN = 0,
  THIMBLE_TRACE_PORT_OUT = 1,
  THIMBLE_TRACE_MMIO_READ = 2,
  THIMBLE_TRACE_MMIO_WRITE = 3,
  THIMBLE_TRACE_EOI = 4,             /* the guest ended the level-triggered interrupt `value` */
  THIMBLE_TRACE_SIGNALLED = 5,       /* the host wanted something of the vCPU */
  THIMBLE_TRACE_OTHER_EXIT = 6,      /* exit reason `value` of <linux/kvm.h> */
  THIMBLE_TRACE_NOTIFY = 7,          /* the driver notified queue `value`: no exit */
  THIMBLE_TRACE_INTERRUPT = 8,       /* the device pulsed IOAPIC pin `value` */
  THIMBLE_TRACE_MASKED_INTERRUPT = 9 /* the same, and the guest has the pin masked: it is lost */
} thimble_trace_kind;

typedef struct thimble_trace_event {
  size_t size;      /* bytes of this structure that the library has filled in */
  uint64_t time_ns; /* since the machine was made */
  thimble_trace_kind kind;
  int vcpu;           /* -1: none */
  uint64_t address;   /* port or guest physical address, for the first four kinds */
  uint64_t value;     /* written, or read by the guest */
  uint64_t rip;       /* the guest's instruction, or the one after it; 0: not known */
  uint32_t width;     /* bytes of the access */
  const char* device; /* "virtio-blk vda"; "": nobody owns the address */
  const char* reg;    /* "QueueNotify"; "": it has no name */
} thimble_trace_event;

/* Hears of every exit, notification and interrupt, from the vCPUs' threads and the one that serves
 * the devices, several at once. The event is gone when the callback returns. Tracing changes the
 * guest's timing, nothing else; without it no work is done for it. thimble_machine_stop() may be
 * called. */
typedef void (*thimble_trace)(void* user, const thimble_trace_event* event);
THIMBLE_API void thimble_machine_options_on_trace(thimble_machine_options* options,
                                                  thimble_trace callback,
                                                  void* user) THIMBLE_NOTHROW;
/* The event as one line, without a newline, cut to `size` bytes with the zero at its end; returns
 * its whole length as snprintf() does. Any thread. */
THIMBLE_API size_t thimble_trace_line(const thimble_trace_event* event, char* line,
                                      size_t size) THIMBLE_NOTHROW;

#ifdef __cplusplus
}
#endif

#endif
