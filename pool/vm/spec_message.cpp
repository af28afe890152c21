// See spec_message.h.
#include "pool/vm/spec_message.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "devices/state_text.h"
#include "devices/text.h"
#include "pool/vm/passed_descriptors.h"

namespace thimble {

namespace {

constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxDisks = 64;
constexpr size_t kMaxSlots = 16 + kMaxDisks;

struct DiskText {
  bool read_only = true;
  std::string name;

  void describe(StateVisitor& visitor) {
    visitor.field("read_only", read_only);
    text_field(visitor, "name", name, kMaxPath);
  }
};

// All of a spec but its descriptors.
struct SpecText {
  uint32_t version = kSpecVersion;
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  std::string kernel;
  uint32_t entry = 0;
  uint32_t acpi = 0;
  std::string initrd;
  std::string command_line;
  bool entropy = false;
  bool has_vsock = false;
  uint32_t guest_cid = 0;
  std::vector<DiskText> disks = {};
  bool has_snapshot = false;
  bool warm = false;
  bool may_reclaim = false;
  int64_t reclaim_after_ms = 0;
  bool report_console = false;
  bool require_confinement = false;
  std::vector<uint8_t> given = {};  // of descriptor_slots(): 1 for one that came along, or 0

  void describe(StateVisitor& visitor) {
    visitor.field("version", version);
    visitor.field("memory_bytes", memory_bytes);
    visitor.field("vcpus", vcpus);
    text_field(visitor, "kernel", kernel, kMaxPath);
    visitor.field("entry", entry);
    visitor.field("acpi", acpi);
    text_field(visitor, "initrd", initrd, kMaxPath);
    text_field(visitor, "command_line", command_line, kMaxSpecBytes);
    visitor.field("entropy", entropy);
    visitor.field("has_vsock", has_vsock);
    visitor.field("guest_cid", guest_cid);
    visitor.list("disks", disks, kMaxDisks);
    visitor.field("has_snapshot", has_snapshot);
    visitor.field("warm", warm);
    visitor.field("may_reclaim", may_reclaim);
    visitor.field("reclaim_after_ms", reclaim_after_ms);
    visitor.field("report_console", report_console);
    visitor.field("require_confinement", require_confinement);
    visitor.field("given", given, kMaxSlots);
  }
};

// Every descriptor that a spec of this shape may have, in the order in which they are passed.
// `Spec` is a VmSpec, constant or not.
template <class Spec>
auto descriptor_slots(Spec& spec) {
  auto& machine = spec.machine;
  std::vector<decltype(&machine.kvm)> slots{&machine.kvm, &machine.kernel_file,
                                            &machine.initrd_file, &spec.console, &spec.trace};
  if (machine.vsock) slots.push_back(&machine.vsock->listener);
  if (spec.snapshot) {
    slots.push_back(&spec.snapshot->state);
    slots.push_back(&spec.snapshot->memory);
    slots.push_back(&spec.snapshot->working_set);
  }
  for (auto& disk : machine.disks) slots.push_back(&disk.file);
  return slots;
}

SpecText text_of(const VmSpec& spec) {
  const MachineOptions& machine = spec.machine;
  SpecText out{.memory_bytes = machine.memory_bytes,
               .vcpus = machine.vcpus,
               .kernel = machine.kernel,
               .entry = static_cast<uint32_t>(machine.entry),
               .acpi = static_cast<uint32_t>(machine.acpi),
               .initrd = machine.initrd,
               .command_line = machine.command_line,
               .entropy = machine.entropy,
               .has_vsock = machine.vsock.has_value(),
               .guest_cid = machine.vsock ? machine.vsock->guest_cid : 0,
               .has_snapshot = spec.snapshot.has_value(),
               .warm = spec.warm,
               .may_reclaim = spec.reclaim_after.has_value(),
               .reclaim_after_ms = spec.reclaim_after ? spec.reclaim_after->count() : 0,
               .report_console = spec.report_console,
               .require_confinement = spec.require_confinement};
  for (const Disk& disk : machine.disks) out.disks.push_back({disk.read_only, disk.name});
  for (const Fd* slot : descriptor_slots(spec)) out.given.push_back(*slot ? 1 : 0);
  return out;
}

Result<void> judge(const SpecText& text_part) {
  if (text_part.version != kSpecVersion) {
    return fail(text("it is of version %u, not %u", text_part.version, kSpecVersion));
  }
  if (text_part.entry > static_cast<uint32_t>(KernelEntry::kPvh)) return fail("unknown entry");
  if (text_part.acpi > static_cast<uint32_t>(Acpi::kOff)) return fail("unknown kind of tables");
  if (text_part.reclaim_after_ms < 0) return fail("a reclaim before it began");
  return {};
}

VmSpec spec_of(SpecText text_part) {
  VmSpec spec;
  MachineOptions& machine = spec.machine;
  machine.memory_bytes = text_part.memory_bytes;
  machine.vcpus = text_part.vcpus;
  machine.kernel = std::move(text_part.kernel);
  machine.entry = static_cast<KernelEntry>(text_part.entry);
  machine.acpi = static_cast<Acpi>(text_part.acpi);
  machine.initrd = std::move(text_part.initrd);
  machine.command_line = std::move(text_part.command_line);
  machine.entropy = text_part.entropy;
  if (text_part.has_vsock) machine.vsock.emplace().guest_cid = text_part.guest_cid;
  for (DiskText& disk : text_part.disks) {
    machine.disks.push_back({Fd(), disk.read_only, std::move(disk.name)});
  }
  if (text_part.has_snapshot) spec.snapshot.emplace();
  spec.warm = text_part.warm;
  if (text_part.may_reclaim)
    spec.reclaim_after = std::chrono::milliseconds(text_part.reclaim_after_ms);
  spec.report_console = text_part.report_console;
  spec.require_confinement = text_part.require_confinement;
  return spec;
}

// Both in the order of the slots.
Result<void> hand_out(VmSpec& spec, const std::vector<uint8_t>& given,
                      std::vector<Fd> descriptors) {
  const auto slots = descriptor_slots(spec);
  if (given.size() != slots.size()) return fail(text("it knows %zu descriptors", given.size()));
  const auto wanted = static_cast<size_t>(std::ranges::count(given, 1));
  if (wanted != descriptors.size() || std::ranges::count(given, 0) + wanted != given.size()) {
    return fail(text("%zu descriptors came with it, not %zu", descriptors.size(), wanted));
  }
  auto next = descriptors.begin();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (given[i] == 1) *slots[i] = std::move(*next++);
  }
  return {};
}

std::vector<int> descriptors_of(const VmSpec& spec) {
  std::vector<int> all;
  for (const Fd* slot : descriptor_slots(spec)) {
    if (*slot) all.push_back(slot->get());
  }
  return all;
}

void attach(msghdr& message, std::span<const int> descriptors, std::span<char> control) {
  if (descriptors.empty()) return;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
}

// A null message: none of it is taken.
ssize_t receive(int socket, msghdr* message, int flags) {
  msghdr nothing{};
  ssize_t got = 0;
  while ((got = ::recvmsg(socket, message != nullptr ? message : &nothing, flags)) < 0 &&
         errno == EINTR) {
  }
  return got;
}

constexpr size_t kControlBytes = CMSG_SPACE(kMaxSpecDescriptors * sizeof(int));

}  // namespace

std::vector<uint8_t> spec_bytes(const VmSpec& spec) {
  SpecText text_part = text_of(spec);
  return save_state(text_part);
}

Result<VmSpec> parse_spec(std::span<const uint8_t> datagram, std::vector<Fd> descriptors) {
  auto text_part = load_state<SpecText>(datagram);
  if (!text_part) return std::unexpected(text_part.error());
  if (auto sound = judge(*text_part); !sound) return std::unexpected(sound.error());
  const std::vector<uint8_t> given = std::move(text_part->given);
  VmSpec spec = spec_of(std::move(*text_part));
  if (auto done = hand_out(spec, given, std::move(descriptors)); !done) {
    return std::unexpected(done.error());
  }
  return spec;
}

Result<void> send_spec(int socket, const VmSpec& spec) {
  std::vector<uint8_t> bytes = spec_bytes(spec);
  const std::vector<int> descriptors = descriptors_of(spec);
  if (bytes.size() > kMaxSpecBytes || spec.machine.disks.size() > kMaxDisks) {
    return fail(
        text("describe the VM to its process: %zu bytes and %zu disks are too much (at "
             "most %zu and %zu): shorten the kernel's command line",
             bytes.size(), spec.machine.disks.size(), kMaxSpecBytes, kMaxDisks));
  }
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  attach(message, descriptors, control);
  while (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno != EINTR) return fail_errno("describe the VM to its process");
  }
  return {};
}

Result<VmSpec> receive_spec(int socket) {
  // Its length first: room for the longest would stay with the process.
  const ssize_t length = receive(socket, nullptr, MSG_PEEK | MSG_TRUNC);
  if (length < 0) return fail_errno("receive what to run");
  std::vector<uint8_t> datagram(std::min(static_cast<size_t>(length), kMaxSpecBytes));
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  iovec part{datagram.data(), datagram.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (receive(socket, &message, MSG_CMSG_CLOEXEC) < 0) return fail_errno("receive what to run");
  std::vector<Fd> descriptors = passed_descriptors(message);
  Result<VmSpec> spec = fail("it is too long");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
    spec = parse_spec(datagram, std::move(descriptors));
  }
  if (!spec) return fail_in("understand what to run", spec);
  return spec;
}

}  // namespace thimble
