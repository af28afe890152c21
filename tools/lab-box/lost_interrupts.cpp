// Loaded into the box's QEMU with event_injection.cpp, to mend another fault of its emulated AMD-V,
// in 7.2 and later. Its VMRUN and #VMEXIT set and clear VIRQ in the CPU's interrupt_request without
// QEMU's big lock. When the main loop sets a bit there in the same moment, such as the request to
// look at the APIC whose timer has run out, that bit is lost: the interrupt stays in the APIC's
// IRR, and a CPU that comes to HLT sleeps until an interrupt of another device comes. A box that
// waits for nobody but its own timer then stands still (seen for 13 minutes).
//
// A thread of this file's asks each CPU twice a second to look at its APIC, which costs a running
// one no more than the way out of its translated code. Only with LAB_REAL_TIME in the environment:
// in virtual time the CPU's own thread runs the timers, and nobody else has a say in what it does.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tools/lab-box/qemu_functions.h"

namespace {

constexpr int kRequestToLook = 0x10;  // CPU_INTERRUPT_POLL of target/i386/cpu.h
constexpr useconds_t kEveryUs = 500000;

struct Qemu {
  void (*lock)(const char* file, int line) = nullptr;
  void (*unlock)() = nullptr;
  void* (*cpu)(int index) = nullptr;
  void (*request)(void* cpu, int mask) = nullptr;

  [[nodiscard]] bool is_known() const {
    return lock != nullptr && unlock != nullptr && cpu != nullptr && request != nullptr;
  }
};

// The lock is there when the first CPU is, and free when all of them can be asked.
void ask(const Qemu& qemu) {
  if (qemu.cpu(0) == nullptr) return;
  qemu.lock(__FILE__, __LINE__);
  for (int i = 0; void* cpu = qemu.cpu(i); ++i) qemu.request(cpu, kRequestToLook);
  qemu.unlock();
}

__attribute__((constructor)) void start_asking() {
  if (std::getenv("LAB_REAL_TIME") == nullptr) return;
  Qemu qemu;
  lab::find("qemu_mutex_lock_iothread_impl", qemu.lock);
  lab::find("bql_lock_impl", qemu.lock);  // since QEMU 9.0
  lab::find("qemu_mutex_unlock_iothread", qemu.unlock);
  lab::find("bql_unlock", qemu.unlock);
  lab::find("qemu_get_cpu", qemu.cpu);
  lab::find("cpu_interrupt", qemu.request);
  if (!qemu.is_known()) {
    std::fprintf(stderr, "lab: this QEMU's lost interrupts are left as they are\n");
    return;
  }
  // QEMU's signals are for its own threads, which take them by signalfd: here they would end it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([qemu] {
    for (;;) {
      usleep(kEveryUs);
      ask(qemu);
    }
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
