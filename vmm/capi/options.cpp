// The options of thimble.h.
#include "vmm/capi/options.h"

#include <fcntl.h>

#include <new>

#include "vmm/capi/answer.h"
#include "vmm/capi/descriptor.h"

using namespace thimble;        // NOLINT: the C functions are in no namespace
using namespace thimble::capi;  // NOLINT

namespace {

Result<NamedFile> named(const char* path, const char* what) {
  if (auto done = given(path, what); !done) return std::unexpected(done.error());
  return NamedFile{path, Fd()};
}

Result<NamedFile> opened(int fd, const char* name, const char* what) {
  if (auto done = given(name, what); !done) return std::unexpected(done.error());
  auto copy = duplicate(fd, std::string(what) + " " + name + ": its descriptor");
  if (!copy) return std::unexpected(copy.error());
  return NamedFile{name, std::move(*copy)};
}

Result<NamedFile> open_disk(const char* path, bool writable) {
  if (auto done = given(path, "the disk's path"); !done) return std::unexpected(done.error());
  Fd file(::open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(std::string("open disk ") + path);
  return NamedFile{path, std::move(file)};
}

// Calls `body`, which returns a Result<void>, and keeps its error.
template <class Body>
void set(thimble_machine_options* options, Body body) noexcept {
  if (options == nullptr) return;
  try {
    Result<void> done = body(*options);
    if (!done && !options->fault) options->fault = done.error();
  } catch (const std::bad_alloc&) {
    // Short enough to need no memory.
    if (!options->fault) options->fault = Error{"out of memory", ErrorKind::kShortage};
  }
}

void set_file(thimble_machine_options* options, NamedFile thimble_machine_options::* place,
              Result<NamedFile> (*make)(int, const char*, const char*), int fd, const char* name,
              const char* what) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    auto file = make(fd, name, what);
    if (!file) return std::unexpected(file.error());
    all.*place = std::move(*file);
    return {};
  });
}

Result<NamedFile> by_path(int /*fd*/, const char* path, const char* what) {
  return named(path, what);
}

void add_disk(thimble_machine_options* options, bool writable, auto open) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    auto file = open();
    if (!file) return std::unexpected(file.error());
    all.disks.push_back({std::move(*file), writable});
    return {};
  });
}

void set_vsock(thimble_machine_options* options, uint32_t cid, const char* path) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    if (auto done = given(path, "vsock: the path"); !done) return done;
    all.guest_cid = cid;
    all.vsock_path = path;
    return {};
  });
}

template <class Function>
void set_hook(thimble_machine_options* options, Hook<Function> thimble_machine_options::* place,
              Function callback, void* user) noexcept {
  if (options != nullptr) options->*place = {callback, user};
}

// For a machine to own; none of none.
Result<Fd> copy_of(const Fd& file, const std::string& what) {
  if (!file) return Fd();
  return duplicate(file.get(), what);
}

static_assert(static_cast<int>(KernelEntry::kAuto) == THIMBLE_ENTRY_AUTO);
static_assert(static_cast<int>(KernelEntry::kLinux64) == THIMBLE_ENTRY_LINUX64);
static_assert(static_cast<int>(KernelEntry::kPvh) == THIMBLE_ENTRY_PVH);
static_assert(static_cast<int>(Acpi::kAuto) == THIMBLE_ACPI_AUTO);
static_assert(static_cast<int>(Acpi::kOn) == THIMBLE_ACPI_ON);
static_assert(static_cast<int>(Acpi::kOff) == THIMBLE_ACPI_OFF);

// One of several, by its number in C.
template <class Choice>
void choose(thimble_machine_options* options, Choice thimble_machine_options::* place,
            unsigned wish, unsigned last, const char* what) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    if (wish > last) return fail(ErrorKind::kInvalid, std::string(what) + ": no such choice");
    all.*place = static_cast<Choice>(wish);
    return {};
  });
}

}  // namespace

Result<void> thimble_machine_options::hand_out_files(MachineOptions& out) const {
  auto kernel_file = copy_of(kernel.file, "kernel " + kernel.name);
  if (!kernel_file) return std::unexpected(kernel_file.error());
  out.kernel_file = std::move(*kernel_file);
  auto initrd_file = copy_of(initrd.file, "initrd " + initrd.name);
  if (!initrd_file) return std::unexpected(initrd_file.error());
  out.initrd_file = std::move(*initrd_file);
  auto device = copy_of(kvm, "/dev/kvm");
  if (!device) return std::unexpected(device.error());
  out.kvm = std::move(*device);
  for (const DiskFile& disk : disks) {
    auto file = copy_of(disk.file.file, "disk " + disk.file.name);
    if (!file) return std::unexpected(file.error());
    out.disks.push_back({std::move(*file), !disk.writable, disk.file.name});
  }
  return {};
}

Result<MachineOptions> thimble_machine_options::for_machine() const {
  if (fault) return std::unexpected(*fault);
  MachineOptions out;
  out.memory_bytes = memory_bytes;
  out.vcpus = vcpus;
  out.kernel = kernel.name;
  out.initrd = initrd.name;
  out.command_line = command_line;
  out.entry = entry;
  out.acpi = acpi;
  out.entropy = entropy;
  if (auto done = hand_out_files(out); !done) return std::unexpected(done.error());
  if (guest_cid) {
    out.vsock.emplace();
    out.vsock->guest_cid = *guest_cid;
    out.vsock->path = vsock_path;
  }
  return out;
}

thimble_machine_options* thimble_machine_options_new() noexcept {
  return new (std::nothrow) thimble_machine_options();
}

void thimble_machine_options_free(thimble_machine_options* options) noexcept { delete options; }

void thimble_machine_options_set_memory(thimble_machine_options* options, uint64_t bytes) noexcept {
  if (options != nullptr) options->memory_bytes = bytes;
}

void thimble_machine_options_set_vcpus(thimble_machine_options* options, unsigned vcpus) noexcept {
  if (options != nullptr) options->vcpus = vcpus;
}

void thimble_machine_options_set_kernel(thimble_machine_options* options,
                                        const char* path) noexcept {
  set_file(options, &thimble_machine_options::kernel, by_path, -1, path, "the kernel's path");
}

void thimble_machine_options_set_kernel_fd(thimble_machine_options* options, int fd,
                                           const char* name) noexcept {
  set_file(options, &thimble_machine_options::kernel, opened, fd, name, "kernel");
}

void thimble_machine_options_set_initrd(thimble_machine_options* options,
                                        const char* path) noexcept {
  set_file(options, &thimble_machine_options::initrd, by_path, -1, path, "the initrd's path");
}

void thimble_machine_options_set_initrd_fd(thimble_machine_options* options, int fd,
                                           const char* name) noexcept {
  set_file(options, &thimble_machine_options::initrd, opened, fd, name, "initrd");
}

void thimble_machine_options_set_command_line(thimble_machine_options* options,
                                              const char* words) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    if (auto done = given(words, "the command line"); !done) return done;
    all.command_line = words;
    return {};
  });
}

void thimble_machine_options_set_kernel_entry(thimble_machine_options* options,
                                              thimble_kernel_entry entry) noexcept {
  choose(options, &thimble_machine_options::entry, entry, THIMBLE_ENTRY_PVH, "kernel entry");
}

void thimble_machine_options_set_acpi(thimble_machine_options* options,
                                      thimble_acpi acpi) noexcept {
  choose(options, &thimble_machine_options::acpi, acpi, THIMBLE_ACPI_OFF, "ACPI");
}

void thimble_machine_options_add_disk(thimble_machine_options* options, const char* path,
                                      bool writable) noexcept {
  add_disk(options, writable, [&] { return open_disk(path, writable); });
}

void thimble_machine_options_add_disk_fd(thimble_machine_options* options, int fd, const char* name,
                                         bool writable) noexcept {
  add_disk(options, writable, [&] { return opened(fd, name, "disk"); });
}

void thimble_machine_options_set_vsock(thimble_machine_options* options, uint32_t cid) noexcept {
  set_vsock(options, cid, "");
}

void thimble_machine_options_set_vsock_path(thimble_machine_options* options, uint32_t cid,
                                            const char* path) noexcept {
  set_vsock(options, cid, path);
}

void thimble_machine_options_on_guest_connect(thimble_machine_options* options, uint32_t port,
                                              thimble_guest_connects callback,
                                              void* user) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    all.on_guest_connect[port] = {callback, user};
    if (callback == nullptr) all.on_guest_connect.erase(port);
    return {};
  });
}

void thimble_machine_options_set_entropy(thimble_machine_options* options, bool entropy) noexcept {
  if (options != nullptr) options->entropy = entropy;
}

void thimble_machine_options_set_kvm_fd(thimble_machine_options* options, int fd) noexcept {
  set(options, [&](thimble_machine_options& all) -> Result<void> {
    auto copy = duplicate(fd, "/dev/kvm: its descriptor");
    if (!copy) return std::unexpected(copy.error());
    all.kvm = std::move(*copy);
    return {};
  });
}

void thimble_machine_options_on_serial(thimble_machine_options* options,
                                       thimble_serial_output callback, void* user) noexcept {
  set_hook(options, &thimble_machine_options::on_serial, callback, user);
}

void thimble_machine_options_on_typing_room(thimble_machine_options* options,
                                            thimble_typing_room callback, void* user) noexcept {
  set_hook(options, &thimble_machine_options::on_typing_room, callback, user);
}

void thimble_machine_options_on_notice(thimble_machine_options* options, thimble_notice callback,
                                       void* user) noexcept {
  set_hook(options, &thimble_machine_options::on_notice, callback, user);
}

void thimble_machine_options_on_thread(thimble_machine_options* options,
                                       thimble_thread_starts callback, void* user) noexcept {
  set_hook(options, &thimble_machine_options::on_thread, callback, user);
}

void thimble_machine_options_on_trace(thimble_machine_options* options, thimble_trace callback,
                                      void* user) noexcept {
  set_hook(options, &thimble_machine_options::on_trace, callback, user);
}
