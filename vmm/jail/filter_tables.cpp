// The lists of system calls, one for each kind of thread, each call with its reason. What is called
// most stands first. A call that is not here ends the VM; when a list lacks one that honest work
// needs, thimble names it in its last line.
//
// What the lists leave out on purpose: anything that opens, creates, connects, executes, maps
// executable memory, makes threads or processes, signals others, or sets up an io_uring.
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>

#include "vmm/jail/filter.h"
#include "vmm/linux_kvm.h"

namespace thimble {

namespace {

// Arguments of 32 bits are compared whole: upper bits that an honest caller leaves zero must be so.
constexpr uint64_t kAll = ~uint64_t{0};

template <uint64_t Request>
constexpr std::array kRequest{ArgumentIs{.argument = 1, .mask = kAll, .value = Request}};

constexpr std::array kNotExecutable{ArgumentIs{.argument = 2, .mask = PROT_EXEC, .value = 0}};

// Memory of nobody's file.
constexpr std::array kAnonymous{
    ArgumentIs{.argument = 2, .mask = PROT_EXEC, .value = 0},
    // Shared memory would not count where the process's own does (limits.cpp).
    ArgumentIs{
        .argument = 3, .mask = MAP_TYPE | MAP_ANONYMOUS, .value = MAP_PRIVATE | MAP_ANONYMOUS}};

// A template over memory that is there: copy-on-write, so that nothing goes back into the file.
constexpr uint64_t kKindOfMap = MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS;
constexpr std::array kTemplateMemory{
    ArgumentIs{.argument = 2, .mask = kAll, .value = PROT_READ | PROT_WRITE},
    ArgumentIs{.argument = 3, .mask = kKindOfMap, .value = MAP_PRIVATE | MAP_FIXED},
    ArgumentIs{.argument = 5, .mask = kAll, .value = 0}};

// fstat(2) as the C library makes it.
constexpr std::array kOfDescriptor{ArgumentIs{.argument = 3, .mask = kAll, .value = AT_EMPTY_PATH}};

constexpr std::array kDuplicate{ArgumentIs{.argument = 1, .mask = kAll, .value = F_DUPFD_CLOEXEC}};

constexpr std::array kInstallFilter{
    ArgumentIs{.argument = 0, .mask = kAll, .value = SECCOMP_SET_MODE_FILTER}};

// A VMM process in a pid namespace of its own is process 1 in it, so its threads can be signalled
// and nobody else could be. Where that layer is missing the number differs: tgkill(1, …) is what
// an attacker would be left with, hence the check only on the signal.
constexpr std::array kKick{ArgumentIs{.argument = 2, .mask = kAll, .value = SIGUSR2}};

// The kernel calls it in a thread's name.
constexpr auto kGoesOn = "goes on with a timed wait after the process was stopped (SIGCONT)";

constexpr std::array kVcpuCalls{
    AllowedCall{SYS_ioctl, "KVM_RUN: runs the guest", kRequest<KVM_RUN>},
    AllowedCall{SYS_ioctl, "KVM_SIGNAL_MSI: a device's interrupt", kRequest<KVM_SIGNAL_MSI>},
    AllowedCall{SYS_ioctl, "KVM_SET_SIGNAL_MASK: lets the kick in, once",
                kRequest<KVM_SET_SIGNAL_MASK>},
    AllowedCall{SYS_ioctl, "KVM_GET_REGS: registers for a message about the end",
                kRequest<KVM_GET_REGS>},
    AllowedCall{SYS_ioctl, "KVM_GET_SREGS: the same", kRequest<KVM_GET_SREGS>},
    AllowedCall{SYS_write, "eventfds: interrupts, waking the event loop"},
    AllowedCall{SYS_futex, "locks of devices"},
    AllowedCall{SYS_sched_yield, "libstdc++ spins before it waits"},
    AllowedCall{SYS_read, "eventfds: completions taken when a driver resets its disk"},
    AllowedCall{SYS_clock_gettime, "timers, where the host's clock needs a call"},
    AllowedCall{SYS_io_uring_enter, "a reset waits for the disk's requests"},
    AllowedCall{SYS_clock_nanosleep, "the same, when the host is out of memory"},
    AllowedCall{SYS_mmap, "malloc", kAnonymous},
    AllowedCall{SYS_munmap, "malloc"},
    AllowedCall{SYS_mprotect, "malloc grows the heap of a thread", kNotExecutable},
    AllowedCall{SYS_madvise, "malloc, and the end of a thread"},
    AllowedCall{SYS_brk, "malloc"},
    AllowedCall{SYS_rt_sigprocmask, "blocks signals at the start, and at a thread's end"},
    AllowedCall{SYS_rt_sigtimedwait, "takes a kick from before a pause away"},
    AllowedCall{SYS_getpid, "kicks other vCPUs when the machine ends: libc asks first"},
    AllowedCall{SYS_tgkill, "the kick", kKick},
    AllowedCall{SYS_sendmsg, "a notice for the log; the report of a forbidden call"},
    AllowedCall{SYS_exit, "the end of the thread"},
    AllowedCall{SYS_exit_group, "the end of the process, after a forbidden call"},
};

constexpr std::array kLoopCalls{
    AllowedCall{SYS_epoll_wait, "waits for everything"},
    AllowedCall{SYS_read, "eventfds: notifications, completions"},
    AllowedCall{SYS_write, "eventfds: interrupts, waking itself"},
    AllowedCall{SYS_io_uring_enter, "disk requests: all that the rings take is fixed (uring_disk)"},
    AllowedCall{SYS_recvmsg, "vsock streams: from the host"},
    AllowedCall{SYS_sendmsg, "vsock streams: to the host; messages for the parent"},
    AllowedCall{SYS_ioctl, "KVM_SIGNAL_MSI: a device's interrupt", kRequest<KVM_SIGNAL_MSI>},
    AllowedCall{SYS_futex, "locks, and the ends of the vCPU threads"},
    AllowedCall{SYS_sched_yield, "libstdc++ spins before it waits"},
    AllowedCall{SYS_epoll_ctl, "streams come and go"},
    AllowedCall{SYS_clock_gettime, "timers, where the host's clock needs a call"},
    AllowedCall{SYS_getrandom, "the guest's entropy device"},
    AllowedCall{SYS_sendto, "the serial console to its reader"},
    AllowedCall{SYS_recvfrom, "the CONNECT line of a vsock client"},
    AllowedCall{SYS_accept4, "vsock clients"},
    AllowedCall{SYS_shutdown, "half-closed streams; the end of VM channel and console"},
    AllowedCall{SYS_close, "streams, and everything at the end"},
    AllowedCall{SYS_mmap, "malloc", kAnonymous},
    AllowedCall{SYS_munmap, "malloc, and the guest's memory at the end"},
    AllowedCall{SYS_mremap, "malloc grows a large block"},
    AllowedCall{SYS_mprotect, "malloc", kNotExecutable},
    AllowedCall{SYS_madvise, "malloc"},
    AllowedCall{SYS_brk, "malloc"},
    AllowedCall{SYS_rt_sigprocmask, "libc, around the end of threads"},
    AllowedCall{SYS_clock_nanosleep, "a disk whose host is out of memory is asked again"},
    AllowedCall{SYS_restart_syscall, kGoesOn},
    AllowedCall{SYS_getpid, "kicks the vCPUs when the machine ends: libc asks first"},
    AllowedCall{SYS_tgkill, "the kick", kKick},
    AllowedCall{SYS_lseek, "whether a clone ended because its memory file was cut"},
    AllowedCall{SYS_exit_group, "the end"},
};

constexpr std::array kDiskWorkerCalls{
    AllowedCall{SYS_futex, "waits for requests"},
    AllowedCall{SYS_preadv, "reads"},
    AllowedCall{SYS_pwritev2, "writes"},
    AllowedCall{SYS_fdatasync, "flushes"},
    AllowedCall{SYS_write, "the eventfd of completions"},
    AllowedCall{SYS_mmap, "malloc", kAnonymous},
    AllowedCall{SYS_munmap, "malloc"},
    AllowedCall{SYS_mprotect, "malloc", kNotExecutable},
    AllowedCall{SYS_madvise, "malloc, and the end of the thread"},
    AllowedCall{SYS_brk, "malloc"},
    AllowedCall{SYS_rt_sigprocmask, "the end of the thread"},
    AllowedCall{SYS_sendmsg, "the report of a forbidden call"},
    AllowedCall{SYS_exit, "the end of the thread"},
    AllowedCall{SYS_exit_group, "the end of the process, after a forbidden call"},
};

constexpr std::array kMessengerCalls{
    AllowedCall{SYS_recvmsg, "the VM channel: streams for ports of the guest"},
    AllowedCall{SYS_poll, "the console's reader: slow, or typing; the rest of a clone"},
    AllowedCall{SYS_restart_syscall, kGoesOn},
    AllowedCall{SYS_recvfrom, "what is typed at the console"},
    AllowedCall{SYS_read, "the eventfd that wakes the console's thread"},
    AllowedCall{SYS_write, "waking the event loop; the serial port's interrupt"},
    AllowedCall{SYS_ioctl, "KVM_SIGNAL_MSI: the serial port's interrupt", kRequest<KVM_SIGNAL_MSI>},
    AllowedCall{SYS_sendmsg, "answers; the report of a forbidden call"},
    AllowedCall{SYS_futex, "locks of devices"},
    AllowedCall{SYS_pwrite64, "snapshots: into the files that the parent gave"},
    AllowedCall{SYS_pread64,
                "working sets and reclaim: the map of its own pages, the template's pages"},
    AllowedCall{SYS_ftruncate, "snapshots: the length of the memory file"},
    AllowedCall{SYS_uname, "snapshots: what host made them"},
    AllowedCall{SYS_clock_gettime, "snapshots: when, where the host's clock needs a call"},
    AllowedCall{SYS_ioctl, "snapshots: what KVM has", kRequest<KVM_CHECK_EXTENSION>},
    AllowedCall{SYS_ioctl, "snapshots: which MSRs", kRequest<KVM_GET_MSR_INDEX_LIST>},
    AllowedCall{SYS_ioctl, "snapshots: state of a vCPU", kRequest<KVM_GET_MP_STATE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_VCPU_EVENTS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_REGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_SREGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_DEBUGREGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_XCRS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_XSAVE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_XSAVE2>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_NESTED_STATE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_MSRS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_LAPIC>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_GET_TSC_KHZ>},
    AllowedCall{SYS_ioctl, "snapshots: the guest's clock", kRequest<KVM_GET_CLOCK>},
    AllowedCall{SYS_ioctl, "the end of a pause", kRequest<KVM_KVMCLOCK_CTRL>},
    AllowedCall{SYS_mremap, "malloc grows a large block"},
    AllowedCall{SYS_sched_yield, "libstdc++ spins before it waits"},
    AllowedCall{SYS_close, "streams that the machine does not take"},
    AllowedCall{SYS_mmap, "malloc", kAnonymous},
    AllowedCall{SYS_munmap, "malloc"},
    AllowedCall{SYS_mprotect, "malloc", kNotExecutable},
    AllowedCall{SYS_madvise, "malloc, and the end of the thread"},
    AllowedCall{SYS_brk, "malloc"},
    AllowedCall{SYS_rt_sigprocmask, "the end of the thread"},
    AllowedCall{SYS_getpid, "the end of the parent stops the machine: libc asks first"},
    AllowedCall{SYS_tgkill, "the kick", kKick},
    AllowedCall{SYS_exit, "the end of the thread"},
    AllowedCall{SYS_exit_group, "the end of the process, after a forbidden call"},
};

// What a claim does (vmm/snapshot/machine_restore.cpp), and what leads from there to the event
// loop, whose calls must all be in the warm VM's list too: a filter can only be narrowed.
constexpr std::array kClaimCalls{
    AllowedCall{SYS_newfstatat, "the length of the template's memory file", kOfDescriptor},
    AllowedCall{SYS_fstat, "the same, in other C libraries"},
    AllowedCall{SYS_mmap, "the template's memory", kTemplateMemory},
    AllowedCall{SYS_fcntl, "keeps the template's memory file", kDuplicate},
    AllowedCall{SYS_ioctl, "state of a vCPU", kRequest<KVM_SET_CPUID2>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_TSC_KHZ>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_SREGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_XCRS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_XSAVE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_DEBUGREGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_MSRS>},
    AllowedCall{SYS_ioctl, "whether one that KVM left alone fits", kRequest<KVM_GET_MSRS>},
    AllowedCall{SYS_ioctl, "distance of the time stamp counters", kRequest<KVM_GET_DEVICE_ATTR>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_DEVICE_ATTR>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_NESTED_STATE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_LAPIC>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_MP_STATE>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_REGS>},
    AllowedCall{SYS_ioctl, "the same", kRequest<KVM_SET_VCPU_EVENTS>},
    AllowedCall{SYS_ioctl, "the guest's clock", kRequest<KVM_SET_CLOCK>},
    AllowedCall{SYS_ioctl, "tells the guest of its absence", kRequest<KVM_KVMCLOCK_CTRL>},
    AllowedCall{SYS_seccomp, "the event loop's filter", kInstallFilter},
};

constexpr auto kWarmVmCalls = [] {
  std::array<AllowedCall, kLoopCalls.size() + kClaimCalls.size()> all{};
  std::ranges::copy(kClaimCalls, std::ranges::copy(kLoopCalls, all.begin()).out);
  return all;
}();

}  // namespace

std::span<const AllowedCall> calls_allowed_in(FilteredThread thread) {
  switch (thread) {
    case FilteredThread::kVcpu:
      return kVcpuCalls;
    case FilteredThread::kLoop:
      return kLoopCalls;
    case FilteredThread::kDiskWorker:
      return kDiskWorkerCalls;
    case FilteredThread::kMessenger:
      return kMessengerCalls;
    case FilteredThread::kWarmVm:
      return kWarmVmCalls;
  }
  return {};
}

}  // namespace thimble
