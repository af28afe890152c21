// thimble as a library: one virtual machine with a Linux guest, as an ordinary object.
//
// Many machines may live in one process; there are no globals, no signal handlers and no threads
// besides those of a running machine: one per vCPU, and the caller of run(), which serves the
// devices. Link with -lthimble (see `pkg-config thimble`). tests/embed/embed.cpp is a complete
// user.
//
// A guest can end its machine and nothing else: whatever it does comes back as an End from run().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "thimble/fd.h"
#include "thimble/registers.h"
#include "thimble/result.h"
#include "thimble/snapshot.h"
#include "thimble/trace.h"

namespace thimble {

// A disk of the guest: /dev/vda, /dev/vdb, … in the order given.
struct Disk {
  Fd file;  // regular file or block device, opened for what read_only says
  bool read_only = true;
  std::string name;  // for messages, and the guest's serial number of the disk (20 bytes)
};

// virtio-vsock: streams between the host and ports of the guest.
struct VsockOptions {
  uint32_t guest_cid = 3;  // what the guest sees as its own address; the host is always 2
  // An AF_UNIX path in the convention of Firecracker and Cloud Hypervisor: a client connects and
  // sends "CONNECT <port>\n"; streams that the guest opens go to "<path>_<port>". Empty: none.
  std::string path;
  // The same for a process that cannot reach the path: a listening socket, and a way to ask for a
  // stream to a port of the host, which Machine::opened() answers. Called on run()'s thread.
  Fd listener;
  std::function<void(uint32_t port)> open_host_port;
};

// The threads of a machine that deal with what its guest does.
enum class ThreadKind : uint8_t {
  kVcpu,
  kLoop,        // the caller of run()
  kDiskWorker,  // only where the host has no io_uring
};

// How the first CPU enters the kernel.
enum class KernelEntry {
  kAuto,     // what the file calls for: docs/stock-kernels.md
  kLinux64,  // Linux' 64-bit entry, of a vmlinux or a bzImage
  kPvh,      // the 32-bit entry that an ELF note names
};

// How the guest learns of CPUs and devices.
enum class Acpi {
  kAuto,  // tables, unless the kernel is an ELF image that cannot read them
  kOn,    // ACPI tables
  kOff,   // an MP table, and virtio_mmio.device=… on the kernel's command line
};

struct MachineOptions {
  uint64_t memory_bytes = 128ULL << 20;  // 16 MiB or more, a multiple of 4 KiB
  unsigned vcpus = 1;                    // 1 to 8
  std::string kernel;                    // path of a vmlinux (ELF) or a vmlinuz (bzImage)
  KernelEntry entry = KernelEntry::kAuto;
  Acpi acpi = Acpi::kAuto;
  std::string initrd;  // path, or empty
  // The same already open, for a process that cannot reach the paths (they only name the files in
  // messages then), and /dev/kvm, which is opened when it is not given.
  Fd kernel_file;
  Fd initrd_file;
  Fd kvm;
  // The guest kernel's command line, which Linux takes up to 2047 bytes of. Without ACPI tables the
  // machine puts what describes its devices (virtio_mmio.device=…) before it, nothing else.
  std::string command_line;
  std::vector<Disk> disks;
  std::optional<VsockOptions> vsock;
  bool entropy = true;  // a virtio-rng device
  // Of a machine that is prepared for a known snapshot: a file of record_working_set(), or none.
  // The pages that an earlier clone has touched are at hand when it is claimed, and those that it
  // has changed are this one's own. Only advice: one that does not fit is told to on_notice and not
  // followed. restore() does not look at it.
  Fd working_set;
  // Of a clone that record_working_set() or reclaim() will be called of: this process's
  // /proc/self/pagemap, which a process that is confined must have opened before.
  Fd page_map;

  // What the guest writes to its serial port, on run()'s thread. It should not block: while it does
  // the guest's devices wait.
  std::function<void(std::span<const uint8_t>)> on_serial;
  // type() did not take everything, and would take more now; on run()'s thread.
  std::function<void()> on_typing_room;
  // One line of the machine's own for a log (which disk backend was chosen and why), any thread.
  std::function<void(const std::string&)> on_notice;
  // The guest connected to a vsock port of the host: returns the stream to join it with (a
  // connected byte stream socket), or nothing to refuse. On run()'s thread. Ports not listed here
  // go to `path`.
  std::function<Fd(uint32_t port)> on_guest_connect;
  std::vector<uint32_t> guest_connect_ports;
  // Hears of every exit, notification and interrupt, for people who work on kernels; from vCPU
  // threads and run()'s, several at once. Nothing is done for it when it is not set.
  TraceHook on_trace;
  // Called on each thread before it does anything for the guest, and before the guest's first
  // instruction: the place to confine the thread. An error ends the machine.
  std::function<Result<void>(ThreadKind)> on_thread;
};

// What came of Machine::reclaim().
struct ReclaimReport {
  bool reclaimed = false;
  std::string why_not;
  // A timer of the guest's ended it; or forbade it, since it is due so soon (otherwise 0).
  bool by_timer = false;
  std::chrono::nanoseconds until_timer{};
  uint64_t pages = 0;       // of guest memory that were given back to the host meanwhile
  uint64_t kept_bytes = 0;  // that were kept in their place
};

// Why a machine ended.
struct End {
  enum class Kind {
    kPowerOff,       // the guest switched itself off
    kReset,          // the guest asked for a reset (reboot; also a kernel panic with panic=-1)
    kTripleFault,    // the guest's CPU gave up
    kStopped,        // stop() was called
    kInternalError,  // KVM could not go on: `message` has the registers
    kHostError,      // the host failed: a thread, a descriptor, memory
  };
  Kind kind = Kind::kStopped;
  std::string message;  // one line for a person; registers follow on further lines where they help
};

class Machine {
 public:
  // Opens /dev/kvm, maps memory, loads the kernel, makes devices and vCPUs. Nothing runs yet.
  static Result<std::unique_ptr<Machine>> create(MachineOptions options);

  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();  // run() must have returned, or never been called

  // Runs until the machine ends; to be called once. Blocks signals that are blocked in the caller
  // in its vCPU threads too.
  //
  // `ready`, when given, is called on this thread once the vCPU threads stand and have been through
  // on_thread, before this thread goes through it and before the guest's first instruction: there a
  // prepared machine may wait for its claim. An error ends the machine.
  End run(const std::function<Result<void>()>& ready = nullptr);

  // ---- snapshots: docs/snapshots.md ----

  // A machine of the shape that `options` says (memory, vCPUs, disks, vsock, entropy), with
  // everything made that does not depend on a snapshot; nothing is loaded and run() would run
  // nothing sensible until claim(). kernel, initrd and command_line are not looked at. Where it is
  // known already which snapshot will be claimed, it is `expected`: whatever can be judged and set
  // before the claim is, and a snapshot that does not fit is refused here.
  static Result<std::unique_ptr<Machine>> prepare(MachineOptions options,
                                                  const Snapshot* expected = nullptr);

  // Takes over the state of `snapshot`: a prepared machine becomes a clone of the one that was
  // saved, and run() goes on where that one was paused. The snapshot must have the same shape, with
  // disks of the same size and access in the same order. Once, before run() or in its `ready`, from
  // any thread.
  // The memory file is mapped copy-on-write, so all clones share what none of them changed. After
  // an error the machine is of no use and is to be destroyed; nothing of it has run.
  Result<void> claim(const Snapshot& snapshot);

  // prepare() and claim(); memory_bytes and vcpus are taken from the snapshot.
  static Result<std::unique_ptr<Machine>> restore(MachineOptions options, const Snapshot& snapshot);

  // Stops the guest: all its CPUs, then its devices with nothing under way. While it is paused the
  // thread in run() is held too, so no callback comes. Returns when all that is so. From any thread
  // but those that run the machine's callbacks, while run() is active; an error when the machine
  // does not run or ends meanwhile.
  Result<void> pause();
  // The guest goes on. An error when the machine is not paused or has ended.
  Result<void> resume();

  // Writes the state of a paused machine, or of one that was not run yet, into two empty files,
  // open for writing and not owned. The machine itself is not changed and may go on, whether this
  // succeeded or not; what is in the files after an error is of no use. Making them durable (fsync)
  // is up to the caller. The streams of vsock are not saved: the guest finds them ended after a
  // restore. From any thread.
  Result<void> save(int state_file, int memory_file);

  // Writes which pages of its memory a clone has touched and changed so far into an empty file, for
  // MachineOptions::working_set of later clones of the same snapshot; their number. Best when it
  // has answered its first requests. Needs MachineOptions::page_map. The machine may run meanwhile.
  // From any thread.
  Result<uint64_t> record_working_set(int file) const;

  // ---- a look inside ----

  // Copies guest memory, from guest physical address `address` on: all of it or an error, when not
  // all of it is memory. A guest that runs may change bytes meanwhile; pause() it for one moment's
  // view. From any thread but those that run the machine's callbacks.
  Result<void> read_memory(uint64_t address, std::span<uint8_t> into) const;
  Result<void> write_memory(uint64_t address, std::span<const uint8_t> bytes);

  // Of a machine that is paused, or was not run yet; vCPUs count from 0. set_registers() sets those
  // that every program has and leaves the system's alone. From any thread.
  Result<Registers> registers(unsigned vcpu) const;
  Result<void> set_registers(unsigned vcpu, const Registers& registers);

  // ---- reclaim: docs/pool.md ----

  // Gives nearly all of a clone's memory back to the host while its guest sleeps: of pages that it
  // has changed the difference from the snapshot's is kept, all others are the snapshot's anyway.
  // Returns when all is there again and the guest goes on: because one of its timers is due, a
  // device or another thread has something for it, or `until` (a descriptor, or -1) is readable.
  // The guest notices nothing; its clocks go on. Returns at once, with nothing done, when the
  // guest does not sleep or will not for half a second. An error when the machine is no clone, does
  // not run, or has ended. Needs MachineOptions::page_map. From any thread but those that run the
  // machine's callbacks; pause(), resume() and save() from other threads end it first.
  Result<ReclaimReport> reclaim(int until);

  // For how long the guest's CPUs have had a processor so far; while the machine runs. What hardly
  // grows belongs to a guest whose memory may be reclaimed. From any thread.
  [[nodiscard]] std::chrono::nanoseconds work() const;

  // Ends run() soon, of a paused machine too. From any thread; not from a signal handler.
  void stop();

  // Bytes for the guest's serial port, as typed at its terminal. How many of them were taken, from
  // the first on: at most 4 KiB wait for the guest. From any thread.
  size_t type(std::string_view bytes);

  // Joins `stream` (one end of a socket pair, or any connected byte stream socket) with `port` of
  // the guest. When the guest refuses, or ends, the stream is closed. From any thread.
  void connect(uint32_t port, Fd stream);

  // The answer to VsockOptions::open_host_port: a connected byte stream socket, or nothing to
  // refuse. Answers for one port are taken in the order of the questions. From any thread.
  void opened(uint32_t port, Fd stream);

  // Gives the VM another generation ID, which makes a guest that knows ACPI reseed its random
  // numbers. Without ACPI tables it does nothing. While run() runs; from any thread.
  void change_generation();

  // What KVM has counted for the VM and its vCPUs, the same names of several vCPUs one after
  // another. Only with on_trace, and only once; empty where the host's kernel cannot say.
  std::vector<KvmStatistic> kvm_statistics();

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace thimble
