// A complete user of the library: boots a guest, prints what it writes to its console, and says how
// it ended. Built against the installed header and library alone, as a program of yours would be.
//
//   embed KERNEL [INITRD] [COMMAND LINE]
#include <thimble/machine.h>

#include <cstdio>
#include <string>

namespace {

const char* name_of(thimble::End::Kind kind) {
  using Kind = thimble::End::Kind;
  switch (kind) {
    case Kind::kPowerOff:
      return "power-off";
    case Kind::kReset:
      return "reset";
    case Kind::kTripleFault:
      return "triple fault";
    case Kind::kStopped:
      return "stopped";
    case Kind::kInternalError:
      return "KVM error";
    case Kind::kHostError:
      return "host error";
  }
  return "?";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: embed KERNEL [INITRD] [COMMAND LINE]\n");
    return 2;
  }
  thimble::MachineOptions options;
  options.memory_bytes = 128ULL << 20;
  options.kernel = argv[1];
  options.initrd = argc > 2 ? argv[2] : "";
  options.command_line = argc > 3 ? argv[3] : "console=ttyS0 panic=-1 reboot=k";

  // The guest's console, in the pieces in which it comes.
  options.on_serial = [](std::span<const uint8_t> bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    std::fflush(stdout);
  };

  // Everything that can go wrong on the host side comes back here, with what to do about it.
  auto machine = thimble::Machine::create(std::move(options));
  if (!machine) {
    std::fprintf(stderr, "embed: %s\n", machine.error().message.c_str());
    return 1;
  }

  // Everything that the guest can do comes back here.
  const thimble::End end = (*machine)->run();
  std::fprintf(stderr, "embed: the guest ended: %s: %s\n", name_of(end.kind), end.message.c_str());
  return end.kind == thimble::End::Kind::kPowerOff ? 0 : 1;
}
