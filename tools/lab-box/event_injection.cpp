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
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

using Interrupt = void (*)(void* cpu, int vector, int is_int, int error_code, uint64_t next_eip,
                           int is_hardware);
using LeaveCode = void (*)(void* cpu);
using IsLocked = bool (*)();

Interrupt interrupt = nullptr;
LeaveCode leave_code = nullptr;  // clears exception_index; does not return
IsLocked is_locked = nullptr;  // QEMU's big lock, which its interrupt loop holds and VMRUN does not

// The CPU of the calling thread; CPUState is the first member of QEMU's X86CPU.
void* current_cpu() {
  static thread_local void** variable = static_cast<void**>(dlsym(RTLD_DEFAULT, "current_cpu"));
  return *variable;
}

// Stands in for do_interrupt_x86_hardirq().
void deliver(void* /*env*/, int vector, int is_hardware) {
  void* cpu = current_cpu();
  interrupt(cpu, vector, 0, 0, 0, is_hardware);
  if (!is_locked()) leave_code(cpu);
}

template <typename Function>
void find(const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

// Writes `jmp *0(%rip)` and the address behind it over the function's first bytes.
bool redirect(void* from, void (*to)(void*, int, int)) {
  std::array<uint8_t, 14> jump = {0xff, 0x25, 0, 0, 0, 0};
  const auto target = reinterpret_cast<uintptr_t>(to);
  std::memcpy(jump.data() + 6, &target, sizeof(target));
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* pages = static_cast<uint8_t*>(from) - (reinterpret_cast<uintptr_t>(from) & (page - 1));
  if (mprotect(pages, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return false;
  std::memcpy(from, jump.data(), jump.size());
  return mprotect(pages, 2 * page, PROT_READ | PROT_EXEC) == 0;
}

__attribute__((constructor)) void mend() {
  void* faulty = dlsym(RTLD_DEFAULT, "do_interrupt_x86_hardirq");
  find("do_interrupt_all", interrupt);
  find("cpu_loop_exit_noexc", leave_code);
  find("qemu_mutex_iothread_locked", is_locked);
  if (is_locked == nullptr) find("bql_locked", is_locked);  // its name since QEMU 9.0
  const bool known = faulty != nullptr && interrupt != nullptr && leave_code != nullptr &&
                     is_locked != nullptr && dlsym(RTLD_DEFAULT, "current_cpu") != nullptr;
  if (!known || !redirect(faulty, deliver)) {
    std::fprintf(stderr, "lab: this QEMU's delivery of events to nested guests is left as it is\n");
  }
}

}  // namespace
