// Loaded into the box's QEMU (LD_PRELOAD) to mend one fault of its emulated AMD-V, in 7.2 and
// later: VMRUN with an interrupt in EVENTINJ delivers it, but leaves its vector in the CPU's
// exception_index. When the next thing that stops translated code is a request to leave it, such as
// a timer of the box in virtual time, cpu_handle_interrupt() takes that vector for an exception and
// the nested guest gets the interrupt once more, interrupts off or not: one that is in its handler
// then waits for a lock or sequence counter that it holds itself, for ever.
//
// VMRUN and QEMU's interrupt loop both deliver through do_interrupt_x86_hardirq(). It is replaced
// by a function that does the same and, when VMRUN is the caller, ends that instruction as QEMU
// ends it for the other kinds of events: by leaving the translated code, with exception_index
// cleared. Only functions that QEMU exports are called; without them nothing is changed.
#include <cstdio>

#include "tools/lab-box/qemu_functions.h"

namespace {

using Deliver = void(void* env, int vector, int is_hardware);
using Interrupt = void (*)(void* cpu, int vector, int is_int, int error_code, uint64_t next_eip,
                           int is_hardware);
using LeaveCode = void (*)(void* cpu);
using IsLocked = bool (*)();

Interrupt interrupt = nullptr;
LeaveCode leave_code = nullptr;  // clears exception_index; does not return
IsLocked is_locked = nullptr;  // QEMU's big lock, which its interrupt loop holds and VMRUN does not

// Stands in for do_interrupt_x86_hardirq().
void deliver(void* /*env*/, int vector, int is_hardware) {
  void* cpu = lab::current_cpu();
  interrupt(cpu, vector, 0, 0, 0, is_hardware);
  if (!is_locked()) leave_code(cpu);
}

__attribute__((constructor)) void mend() {
  Deliver* faulty = nullptr;
  lab::find("do_interrupt_x86_hardirq", faulty);
  lab::find("do_interrupt_all", interrupt);
  lab::find("cpu_loop_exit_noexc", leave_code);
  lab::find("qemu_mutex_iothread_locked", is_locked);
  lab::find("bql_locked", is_locked);  // its name since QEMU 9.0
  const bool known = faulty != nullptr && interrupt != nullptr && leave_code != nullptr &&
                     is_locked != nullptr && dlsym(RTLD_DEFAULT, "current_cpu") != nullptr;
  if (!known || !lab::redirect(faulty, deliver)) {
    std::fprintf(stderr, "lab: this QEMU's delivery of events to nested guests is left as it is\n");
  }
}

}  // namespace
