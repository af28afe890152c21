// A look inside a machine, and its trace, for thimble.h.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "vmm/capi/machine.h"

using namespace thimble;        // NOLINT: the C functions are in no namespace
using namespace thimble::capi;  // NOLINT

namespace {

// What a caller who knows the smallest structure has.
constexpr size_t kSettable = offsetof(thimble_registers, cr0);

Result<void> check_size(const thimble_registers* registers) {
  if (auto done = given(registers, "registers"); !done) return done;
  if (registers->size >= kSettable) return {};
  return fail(ErrorKind::kInvalid, "registers: their size is not set");
}

thimble_registers for_c(const Registers& from) {
  return {.size = sizeof(thimble_registers),
          .rax = from.rax,
          .rbx = from.rbx,
          .rcx = from.rcx,
          .rdx = from.rdx,
          .rsi = from.rsi,
          .rdi = from.rdi,
          .rsp = from.rsp,
          .rbp = from.rbp,
          .r8 = from.r8,
          .r9 = from.r9,
          .r10 = from.r10,
          .r11 = from.r11,
          .r12 = from.r12,
          .r13 = from.r13,
          .r14 = from.r14,
          .r15 = from.r15,
          .rip = from.rip,
          .rflags = from.rflags,
          .cr0 = from.cr0,
          .cr2 = from.cr2,
          .cr3 = from.cr3,
          .cr4 = from.cr4,
          .efer = from.efer,
          .fs_base = from.fs_base,
          .gs_base = from.gs_base,
          .cs = from.cs};
}

// Those that are set.
Registers from_c(const thimble_registers& from) {
  return {.rax = from.rax,
          .rbx = from.rbx,
          .rcx = from.rcx,
          .rdx = from.rdx,
          .rsi = from.rsi,
          .rdi = from.rdi,
          .rsp = from.rsp,
          .rbp = from.rbp,
          .r8 = from.r8,
          .r9 = from.r9,
          .r10 = from.r10,
          .r11 = from.r11,
          .r12 = from.r12,
          .r13 = from.r13,
          .r14 = from.r14,
          .r15 = from.r15,
          .rip = from.rip,
          .rflags = from.rflags};
}

}  // namespace

thimble_error_kind thimble_machine_read_memory(const thimble_machine* machine, uint64_t address,
                                               void* into, size_t size,
                                               thimble_error** error) noexcept {
  return answer_outside(machine, error, [&]() -> Result<void> {
    if (auto done = given(into, "into"); !done) return done;
    return machine->machine->read_memory(address, {static_cast<uint8_t*>(into), size});
  });
}

thimble_error_kind thimble_machine_write_memory(thimble_machine* machine, uint64_t address,
                                                const void* bytes, size_t size,
                                                thimble_error** error) noexcept {
  return answer_outside(machine, error, [&]() -> Result<void> {
    if (auto done = given(bytes, "bytes"); !done) return done;
    return machine->machine->write_memory(address, {static_cast<const uint8_t*>(bytes), size});
  });
}

thimble_error_kind thimble_machine_get_registers(const thimble_machine* machine, unsigned vcpu,
                                                 thimble_registers* registers,
                                                 thimble_error** error) noexcept {
  return answer_outside(machine, error, [&]() -> Result<void> {
    if (auto done = check_size(registers); !done) return done;
    const auto got = machine->machine->registers(vcpu);
    if (!got) return std::unexpected(got.error());
    thimble_registers out = for_c(*got);
    out.size = registers->size;
    std::memcpy(registers, &out, std::min(out.size, sizeof(out)));
    return {};
  });
}

thimble_error_kind thimble_machine_set_registers(thimble_machine* machine, unsigned vcpu,
                                                 const thimble_registers* registers,
                                                 thimble_error** error) noexcept {
  return answer_outside(machine, error, [&]() -> Result<void> {
    if (auto done = check_size(registers); !done) return done;
    return machine->machine->set_registers(vcpu, from_c(*registers));
  });
}

size_t thimble_trace_line(const thimble_trace_event* event, char* line, size_t size) noexcept {
  if (line == nullptr) size = 0;
  if (size > 0) line[0] = '\0';
  if (event == nullptr) return 0;
  try {
    std::string text = trace_line({.time_ns = event->time_ns,
                                   .kind = static_cast<TraceEvent::Kind>(event->kind),
                                   .vcpu = event->vcpu,
                                   .address = event->address,
                                   .size = event->width,
                                   .value = event->value,
                                   .rip = event->rip,
                                   .device = event->device,
                                   .reg = event->reg});
    if (text.ends_with('\n')) text.pop_back();
    if (size > 0) line[text.copy(line, size - 1)] = '\0';
    return text.size();
  } catch (const std::bad_alloc&) {
    return 0;
  }
}
