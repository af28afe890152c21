// What a C caller wants a machine to be. Kept apart from MachineOptions, which a machine takes
// over: these may be used again for the next one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "thimble/machine.h"
#include "thimble/thimble.h"

namespace thimble::capi {

// A C callback and what it gets back; none while `call` is null.
template <class Function>
struct Hook {
  Function call = nullptr;
  void* user = nullptr;
};

struct NamedFile {
  std::string name;
  Fd file;  // or none: `name` is its path
};

struct DiskFile {
  NamedFile file;
  bool writable = false;
};

}  // namespace thimble::capi

struct thimble_machine_options {
  uint64_t memory_bytes = 128ULL << 20;
  unsigned vcpus = 1;
  thimble::capi::NamedFile kernel;
  thimble::capi::NamedFile initrd;
  std::string command_line;
  thimble::KernelEntry entry = thimble::KernelEntry::kAuto;
  thimble::Acpi acpi = thimble::Acpi::kAuto;
  std::vector<thimble::capi::DiskFile> disks;
  std::optional<uint32_t> guest_cid;  // none: no vsock
  std::string vsock_path;
  bool entropy = true;
  thimble::Fd kvm;
  std::map<uint32_t, thimble::capi::Hook<thimble_guest_connects>> on_guest_connect;
  thimble::capi::Hook<thimble_serial_output> on_serial;
  thimble::capi::Hook<thimble_typing_room> on_typing_room;
  thimble::capi::Hook<thimble_notice> on_notice;
  thimble::capi::Hook<thimble_thread_starts> on_thread;
  thimble::capi::Hook<thimble_trace> on_trace;
  std::optional<thimble::Error> fault;  // the first that a setter met

  // With descriptors of its own; without callbacks, which machine.cpp ties to the machine.
  [[nodiscard]] thimble::Result<thimble::MachineOptions> for_machine() const;

 private:
  [[nodiscard]] thimble::Result<void> hand_out_files(thimble::MachineOptions& out) const;
};
