// Runs one payload guest to its end and keeps what it wrote.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "thimble/machine.h"

namespace thimble::test {

// The folder with the built payloads, beside the test binary's own.
inline std::string payload_path(const std::string& name) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  return (self.parent_path().parent_path() / "payload" / (name + ".elf")).string();
}

inline MachineOptions payload_options(const std::string& name) {
  MachineOptions options;
  options.memory_bytes = 32ULL << 20;
  options.kernel = payload_path(name);
  return options;
}

struct PayloadResult {
  End end;
  std::string output;
};

// Output collected from any thread.
class Transcript {
 public:
  void add(std::span<const uint8_t> bytes) {
    const std::scoped_lock guard(lock_);
    text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string text() {
    const std::scoped_lock guard(lock_);
    return text_;
  }

 private:
  std::mutex lock_;
  std::string text_;
};

inline PayloadResult run_payload(MachineOptions options) {
  Transcript transcript;
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto machine = Machine::create(std::move(options));
  if (!machine) return {{End::Kind::kHostError, machine.error().message}, ""};
  End end = (*machine)->run();
  return {std::move(end), transcript.text()};
}

inline PayloadResult run_payload(const std::string& name) {
  return run_payload(payload_options(name));
}

}  // namespace thimble::test
