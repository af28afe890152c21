// What a VM process is told to run: whole, or not at all.
#include "pool/vm/spec_message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "pool/vm/vm_channel.h"

namespace thimble {
namespace {

Fd any_file() { return Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); }
Fd null_file() { return Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)); }

bool same_file(const Fd& one, const Fd& other) {
  struct stat a{};
  struct stat b{};
  return ::fstat(one.get(), &a) == 0 && ::fstat(other.get(), &b) == 0 && a.st_ino == b.st_ino &&
         a.st_dev == b.st_dev;
}

size_t open_descriptors() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

// Nothing in it is as it is by default.
VmSpec full_spec() {
  VmSpec spec;
  MachineOptions& machine = spec.machine;
  machine.memory_bytes = 48ULL << 20;
  machine.vcpus = 3;
  machine.kernel = "/boot/vmlinux";
  machine.entry = KernelEntry::kPvh;
  machine.acpi = Acpi::kOff;
  machine.initrd = "/boot/initrd";
  machine.command_line = "console=ttyS0 quiet";
  machine.entropy = false;
  machine.kvm = null_file();
  machine.kernel_file = any_file();
  machine.vsock.emplace().guest_cid = 77;
  machine.vsock->listener = null_file();
  machine.disks.push_back({any_file(), false, "root"});
  machine.disks.push_back({null_file(), true, "data"});
  spec.snapshot = SnapshotFiles{null_file(), any_file()};
  spec.warm = true;
  spec.reclaim_after = std::chrono::milliseconds(1234);
  spec.console = null_file();
  spec.report_console = true;
  spec.require_confinement = true;
  return spec;
}

TEST(SpecMessage, EverythingArrives) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  const VmSpec sent = full_spec();
  const auto done = send_spec(pair->first.get(), sent);
  ASSERT_TRUE(done) << done.error().message;
  const auto got = receive_spec(pair->second.get());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(spec_bytes(*got), spec_bytes(sent));
  EXPECT_EQ(got->machine.memory_bytes, 48ULL << 20);
  EXPECT_EQ(got->machine.vcpus, 3U);
  EXPECT_EQ(got->machine.kernel, "/boot/vmlinux");
  EXPECT_EQ(got->machine.entry, KernelEntry::kPvh);
  EXPECT_EQ(got->machine.acpi, Acpi::kOff);
  EXPECT_EQ(got->machine.initrd, "/boot/initrd");
  EXPECT_EQ(got->machine.command_line, "console=ttyS0 quiet");
  EXPECT_FALSE(got->machine.entropy);
  EXPECT_EQ(got->machine.vsock->guest_cid, 77U);
  EXPECT_TRUE(got->warm && got->report_console && got->require_confinement);
  EXPECT_EQ(got->reclaim_after, std::chrono::milliseconds(1234));
  ASSERT_EQ(got->machine.disks.size(), 2U);
  EXPECT_EQ(got->machine.disks[0].name, "root");
  EXPECT_FALSE(got->machine.disks[0].read_only);
  EXPECT_TRUE(got->machine.disks[1].read_only);
}

TEST(SpecMessage, EachDescriptorArrivesInItsPlaceAndClosesOnExec) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair && send_spec(pair->first.get(), full_spec()));
  const auto got = receive_spec(pair->second.get());
  ASSERT_TRUE(got);
  const MachineOptions& machine = got->machine;
  EXPECT_TRUE(same_file(machine.kvm, null_file()));
  EXPECT_TRUE(same_file(machine.kernel_file, any_file()));
  EXPECT_FALSE(machine.initrd_file) << "none was given";
  EXPECT_TRUE(same_file(machine.vsock->listener, null_file()));
  EXPECT_TRUE(same_file(machine.disks[0].file, any_file()));
  EXPECT_TRUE(same_file(machine.disks[1].file, null_file()));
  EXPECT_TRUE(same_file(got->snapshot->state, null_file()));
  EXPECT_TRUE(same_file(got->snapshot->memory, any_file()));
  EXPECT_FALSE(got->snapshot->working_set);
  EXPECT_TRUE(same_file(got->console, null_file()));
  EXPECT_FALSE(got->trace);
  EXPECT_EQ(::fcntl(machine.kvm.get(), F_GETFD), FD_CLOEXEC);
}

TEST(SpecMessage, APlainSpecStaysPlain) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair && send_spec(pair->first.get(), VmSpec()));
  const auto got = receive_spec(pair->second.get());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_FALSE(got->snapshot || got->machine.vsock || got->reclaim_after || got->warm);
  EXPECT_TRUE(got->machine.entropy);
}

TEST(SpecMessage, OneThatIsCutAnywhereIsRefused) {
  VmSpec spec;
  spec.machine.kernel = "k";
  const std::vector<uint8_t> whole = spec_bytes(spec);
  ASSERT_TRUE(parse_spec(whole, {}));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_spec(std::span(whole).first(length), {})) << length;
  }
  std::vector<uint8_t> longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(parse_spec(longer, {}));
}

// The place of a field's value in the message.
size_t value_of(const std::vector<uint8_t>& bytes, std::string_view field) {
  const auto found = std::search(bytes.begin(), bytes.end(), field.begin(), field.end());
  return static_cast<size_t>(found - bytes.begin()) + field.size() + sizeof(uint32_t);
}

TEST(SpecMessage, ValuesThatNobodySendsAreRefused) {
  VmSpec spec;
  spec.reclaim_after = std::chrono::milliseconds(1);
  const std::vector<uint8_t> whole = spec_bytes(spec);
  const auto refused_with = [&](std::string_view field, size_t offset, uint8_t value) {
    std::vector<uint8_t> corrupt = whole;
    corrupt[value_of(corrupt, field) + offset] = value;
    return !parse_spec(corrupt, {}).has_value();
  };
  EXPECT_TRUE(refused_with("version", 0, kSpecVersion + 1));
  EXPECT_TRUE(refused_with("entry", 0, 3));
  EXPECT_TRUE(refused_with("acpi", 0, 3));
  EXPECT_TRUE(refused_with("entropy", 0, 2));
  EXPECT_TRUE(refused_with("reclaim_after_ms", 7, 0x80));
  EXPECT_TRUE(refused_with("given", 0, 1)) << "a descriptor that is not there";
  EXPECT_TRUE(refused_with("given", 0, 2));
  EXPECT_FALSE(refused_with("vcpus", 0, 200)) << "that is for the machine to judge";
}

TEST(SpecMessage, AnotherNumberOfDescriptorsIsRefusedAndNoneIsLeft) {
  const size_t before = open_descriptors();
  VmSpec spec;
  spec.machine.kvm = null_file();
  const std::vector<uint8_t> whole = spec_bytes(spec);
  const auto parse_with = [&](size_t count) {
    std::vector<Fd> files;
    for (size_t i = 0; i < count; ++i) files.push_back(null_file());
    return parse_spec(whole, std::move(files)).has_value();
  };
  EXPECT_FALSE(parse_with(0));
  EXPECT_TRUE(parse_with(1));
  EXPECT_FALSE(parse_with(2));
  EXPECT_FALSE(parse_with(kMaxSpecDescriptors));
  spec.machine.kvm.reset();
  EXPECT_EQ(open_descriptors(), before);
}

TEST(SpecMessage, OneThatIsTooLongIsNotSent) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  VmSpec spec;
  spec.machine.command_line.assign(kMaxSpecBytes, 'x');
  const auto sent = send_spec(pair->first.get(), spec);
  ASSERT_FALSE(sent);
  EXPECT_NE(sent.error().message.find("shorten the kernel's command line"), std::string::npos)
      << sent.error().message;
  pair->first.reset();
  EXPECT_FALSE(receive_spec(pair->second.get())) << "nothing came";
}

TEST(SpecMessage, ALongerDatagramIsRefused) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  const std::vector<uint8_t> much(kMaxSpecBytes + 1, 7);
  ASSERT_EQ(::send(pair->first.get(), much.data(), much.size(), 0),
            static_cast<ssize_t>(much.size()));
  EXPECT_FALSE(receive_spec(pair->second.get()));
}

TEST(SpecMessage, AParentThatIsGoneIsAnError) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  pair->first.reset();
  EXPECT_FALSE(receive_spec(pair->second.get()));
}

}  // namespace
}  // namespace thimble
