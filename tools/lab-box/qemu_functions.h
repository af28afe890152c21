// For what is loaded into the box's QEMU (LD_PRELOAD): its functions by name, and a way to replace
// one of them for all who call it. Only what QEMU exports can be found.
#pragma once

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace lab {

// Keeps what was found before under another name.
template <typename Function>
void find(const char* name, Function& function) {
  if (function == nullptr) function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

// The CPU of the calling thread; CPUState is the first member of QEMU's X86CPU. Null: no variable
// of that name.
inline void* current_cpu() {
  static thread_local void** variable = static_cast<void**>(dlsym(RTLD_DEFAULT, "current_cpu"));
  return variable == nullptr ? nullptr : *variable;
}

// Writes `jmp *0(%rip)` and the address behind it over the function's first bytes. Before QEMU has
// threads.
template <typename Function>
bool redirect(Function* from, Function* to) {
  std::array<uint8_t, 14> jump = {0xff, 0x25, 0, 0, 0, 0};
  const auto target = reinterpret_cast<uintptr_t>(to);
  std::memcpy(jump.data() + 6, &target, sizeof(target));
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* bytes = reinterpret_cast<uint8_t*>(from);
  auto* pages = bytes - (reinterpret_cast<uintptr_t>(from) & (page - 1));
  if (mprotect(pages, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return false;
  std::memcpy(bytes, jump.data(), jump.size());
  return mprotect(pages, 2 * page, PROT_READ | PROT_EXEC) == 0;
}

}  // namespace lab
