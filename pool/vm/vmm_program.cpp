// See vmm_program.h. THIMBLE_VMM is the program's path, given by pool/vm/vmm.mk.
#include "pool/vm/vmm_program.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "devices/fd.h"
#include "pool/vm/vm_main.h"

__asm__(
    ".section .rodata\n"
    ".balign 4096\n"
    "thimble_embedded_vmm:\n"
    ".incbin \"" THIMBLE_VMM
    "\"\n"
    "thimble_embedded_vmm_end:\n"
    ".previous\n");

extern "C" {
extern const uint8_t thimble_embedded_vmm[];
extern const uint8_t thimble_embedded_vmm_end[];
}

#ifndef MFD_EXEC  // Linux 6.3
#define MFD_EXEC 0x0010U
#endif

namespace thimble {

namespace {

// Where files without a name may be made and executed, if not in memory.
constexpr const char* kFolders[] = {"/tmp", "/var/tmp", "/dev/shm"};

Result<void> write_all(int file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("write the program of the VMM");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<Fd> make_in_memory(std::span<const uint8_t> bytes) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd file(::memfd_create(kVmmName, kFlags | MFD_EXEC));
  if (!file && errno == EINVAL) file = Fd(::memfd_create(kVmmName, kFlags));
  if (!file) return fail_errno("make the program of the VMM in memory");
  if (auto done = write_all(file.get(), bytes); !done) return std::unexpected(done.error());
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0) {
    return fail_errno("seal the program of the VMM");
  }
  return file;
}

// What is open for writing is not executed, so it is opened again.
Result<Fd> make_in(const char* folder, std::span<const uint8_t> bytes) {
  const Fd writer(::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0500));
  if (!writer) return fail_errno(std::string("make a file in ") + folder);
  if (auto done = write_all(writer.get(), bytes); !done) return std::unexpected(done.error());
  const std::string name = "/proc/self/fd/" + std::to_string(writer.get());
  if (::access(name.c_str(), X_OK) != 0) return fail_errno(std::string("execute in ") + folder);
  Fd file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(std::string("open a file in ") + folder);
  return file;
}

// Set before there are threads, and never again.
bool is_vmm_too = false;

// A descriptor that somebody may have closed, and taken for something else since.
struct Held {
  Fd file;
  dev_t device = 0;
  ino_t inode = 0;

  [[nodiscard]] bool is_there() const {
    struct stat now{};
    return file && ::fstat(file.get(), &now) == 0 && now.st_dev == device && now.st_ino == inode;
  }
};

// Whatever its name is by now, or whose.
Result<Fd> open_program() {
  if (is_vmm_too) {
    if (Fd own(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); own) return own;
  }
  return carried_vmm_program();
}

}  // namespace

void become_vmm_if_asked(int argument_count, char** arguments) {
  is_vmm_too = true;
  if (argument_count != 1 || std::string_view(arguments[0]) != kVmmName) return;
  ::_exit(vmm_main(Fd(kVmmLifeline), Fd(kVmmChannel)));
}

Result<Fd> carried_vmm_program() {
  const std::span bytes(thimble_embedded_vmm, thimble_embedded_vmm_end);
  auto file = make_in_memory(bytes);
  if (file) return file;
  for (const char* folder : kFolders) {
    if (auto other = make_in(folder, bytes)) return other;
  }
  return fail(file.error().message +
              ": the host forbids programs in memory, and no folder takes them either: sysctl -w "
              "vm.memfd_noexec=1, or mount /tmp without noexec");
}

Result<int> vmm_program() {
  static std::mutex mutex;
  static Held held;
  const std::scoped_lock lock(mutex);
  if (held.is_there()) return held.file.get();
  [[maybe_unused]] const int lost = held.file.release();
  auto file = open_program();
  if (!file) return std::unexpected(file.error());
  struct stat made{};
  if (::fstat(file->get(), &made) != 0) return fail_errno("look at the program of the VMM");
  held = {std::move(*file), made.st_dev, made.st_ino};
  return held.file.get();
}

}  // namespace thimble
