// Boots a kernel and gives its VM another generation ID when the guest has written "ready for
// another generation". The console goes to stdout; how the machine ended goes to stderr.
//
//   generation KERNEL INITRD COMMAND-LINE
#include <cstdio>
#include <string>

#include "thimble/machine.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  constexpr const char* kReady = "ready for another generation";
  thimble::MachineOptions options;
  options.memory_bytes = 512ULL << 20;
  options.kernel = argv[1];
  options.entry = thimble::KernelEntry::kPvh;
  options.initrd = argv[2];
  options.command_line = argv[3];
  std::string console;
  thimble::Machine* running = nullptr;
  bool changed = false;
  options.on_serial = [&](std::span<const uint8_t> bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    console.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (changed || console.find(kReady) == std::string::npos) return;
    changed = true;
    running->change_generation();
  };
  auto machine = thimble::Machine::create(std::move(options));
  if (!machine) {
    std::fprintf(stderr, "generation: %s\n", machine.error().message.c_str());
    return 1;
  }
  running = machine->get();
  const thimble::End end = running->run();
  std::fprintf(stderr, "end %d: %s\n", static_cast<int>(end.kind), end.message.c_str());
  return 0;
}
