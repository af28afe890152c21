// What thimble.h refuses, and how it says so. tests/payload/capi_test.cpp has what it does.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "devices/fd.h"
#include "thimble/thimble.h"

namespace thimble {
namespace {

// What a call answered.
struct Answer {
  thimble_error_kind kind = THIMBLE_OK;
  std::string message;

  // `call` takes a thimble_error**.
  explicit Answer(auto call) {
    thimble_error* error = nullptr;
    kind = call(&error);
    EXPECT_EQ(kind, thimble_error_get_kind(error));
    EXPECT_EQ(kind != THIMBLE_OK, error != nullptr);
    message = thimble_error_message(error);
    thimble_error_free(error);
    EXPECT_EQ(kind, kind == THIMBLE_OK ? THIMBLE_OK : call(nullptr)) << "without a description";
  }
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
  return out << thimble_error_kind_name(answer.kind) << ": " << answer.message;
}

class CapiOptions : public testing::Test {
 public:
  CapiOptions() {
    thimble_machine_options_set_kernel(options_, "/dev/null/kernel");
    thimble_machine_options_set_memory(options_, 16 << 20);
  }
  ~CapiOptions() override { thimble_machine_options_free(options_); }

 protected:
  Answer create() {
    return Answer([&](thimble_error** error) {
      auto* machine = reinterpret_cast<thimble_machine*>(1);
      const thimble_error_kind kind = thimble_machine_create(options_, &machine, error);
      EXPECT_EQ(machine == nullptr, kind != THIMBLE_OK);
      thimble_machine_free(machine);
      return kind;
    });
  }

  thimble_machine_options* options_ = thimble_machine_options_new();
};

bool kvm_is_here() { return ::access("/dev/kvm", R_OK | W_OK) == 0; }

Fd memory_file(std::string_view content) {
  Fd file(::memfd_create("file", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), content.data(), content.size()), std::ssize(content));
  return file;
}

TEST(Capi, NothingIsDoneWithNull) {
  thimble_error_free(nullptr);
  thimble_machine_options_free(nullptr);
  thimble_machine_options_set_memory(nullptr, 1);
  thimble_machine_options_set_kernel(nullptr, "vmlinux");
  thimble_machine_options_on_serial(nullptr, nullptr, nullptr);
  thimble_machine_options_on_guest_connect(nullptr, 1, nullptr, nullptr);
  thimble_machine_free(nullptr);
  thimble_machine_stop(nullptr);
  thimble_snapshot_free(nullptr);
  EXPECT_EQ(thimble_machine_type(nullptr, "x", 1), 0U);
  EXPECT_EQ(thimble_machine_ended_fd(nullptr), -1);
  EXPECT_EQ(thimble_machine_end_kind(nullptr), THIMBLE_END_NONE);
  EXPECT_STREQ(thimble_machine_end_message(nullptr), "");
  EXPECT_EQ(thimble_snapshot_memory(nullptr), 0U);
  EXPECT_EQ(thimble_snapshot_vcpus(nullptr), 0U);
  EXPECT_STREQ(thimble_snapshot_cpu_vendor(nullptr), "");
  EXPECT_EQ(thimble_error_get_kind(nullptr), THIMBLE_OK);
  EXPECT_STREQ(thimble_error_message(nullptr), "");
}

TEST(Capi, EveryFallibleFunctionRefusesNull) {
  thimble_registers registers{};
  registers.size = sizeof(registers);
  char byte = 0;
  int stream = 5;
  thimble_machine* machine = nullptr;
  const Answer answers[] = {
      Answer([&](auto e) { return thimble_machine_create(nullptr, &machine, e); }),
      Answer([&](auto e) { return thimble_machine_restore(nullptr, nullptr, &machine, e); }),
      Answer([&](auto e) { return thimble_machine_prepare(nullptr, nullptr, &machine, e); }),
      Answer([&](auto e) { return thimble_machine_claim(nullptr, nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_run(nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_start(nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_wait(nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_pause(nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_resume(nullptr, e); }),
      Answer([&](auto e) { return thimble_machine_connect(nullptr, 1, &stream, e); }),
      Answer([&](auto e) { return thimble_machine_read_memory(nullptr, 0, &byte, 1, e); }),
      Answer([&](auto e) { return thimble_machine_write_memory(nullptr, 0, &byte, 1, e); }),
      Answer([&](auto e) { return thimble_machine_get_registers(nullptr, 0, &registers, e); }),
      Answer([&](auto e) { return thimble_machine_set_registers(nullptr, 0, &registers, e); }),
      Answer([&](auto e) { return thimble_machine_save(nullptr, 0, 1, e); }),
      Answer(
          [&](auto e) { return thimble_snapshot_open(0, 1, THIMBLE_MEMORY_VERIFY, nullptr, e); }),
  };
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.kind, THIMBLE_ERROR_INVALID) << answer;
    EXPECT_NE(answer.message.find("is NULL"), std::string::npos) << answer;
  }
  EXPECT_EQ(stream, -1);
}

TEST(Capi, KindsHaveNames) {
  EXPECT_STREQ(thimble_error_kind_name(THIMBLE_ERROR_MISSING), "missing");
  EXPECT_STREQ(thimble_error_kind_name(static_cast<thimble_error_kind>(200)), "other");
  EXPECT_STREQ(thimble_version(), THIMBLE_VERSION);
}

TEST_F(CapiOptions, AMachineNeedsAPlaceToBePut) {
  const Answer answer([&](auto e) { return thimble_machine_create(options_, nullptr, e); });
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_INVALID) << answer;
}

TEST_F(CapiOptions, ASetterRemembersItsFirstError) {
  thimble_machine_options_set_kernel_fd(options_, -1, "vmlinux");
  thimble_machine_options_set_acpi(options_, static_cast<thimble_acpi>(9));
  const Answer answer = create();
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_INVALID) << answer;
  EXPECT_NE(answer.message.find("kernel vmlinux"), std::string::npos) << answer;
}

TEST_F(CapiOptions, ChoicesThatDoNotExist) {
  thimble_machine_options_set_kernel_entry(options_, static_cast<thimble_kernel_entry>(-1));
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiOptions, ADiskThatIsMissing) {
  thimble_machine_options_add_disk(options_, "/nowhere/disk", false);
  const Answer answer = create();
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_MISSING) << answer;
  EXPECT_NE(answer.message.find("/nowhere/disk"), std::string::npos) << answer;
}

TEST_F(CapiOptions, TextThatIsNull) {
  thimble_machine_options_set_command_line(options_, nullptr);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiOptions, TooManyCpus) {
  thimble_machine_options_set_vcpus(options_, 9);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiOptions, NoKernelAtAll) {
  thimble_machine_options* empty = thimble_machine_options_new();
  std::swap(options_, empty);
  const Answer answer = create();
  thimble_machine_options_free(empty);
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_INVALID) << answer;
  EXPECT_NE(answer.message.find("no kernel"), std::string::npos) << answer;
}

TEST_F(CapiOptions, ADescriptorThatIsNotKvms) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  thimble_machine_options_set_kvm_fd(options_, null.get());
  EXPECT_EQ(create().kind, THIMBLE_ERROR_UNSUPPORTED);
}

// In a process whose root has no /dev.
TEST_F(CapiOptions, AHostWithoutKvm) {
  const std::string empty = testing::TempDir() + "/thimble_no_dev";
  std::filesystem::create_directory(empty);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr int kCannot = 77;
    if (::geteuid() != 0 && ::unshare(CLONE_NEWUSER) != 0) ::_exit(kCannot);
    if (::chroot(empty.c_str()) != 0) ::_exit(kCannot);
    thimble_machine* machine = nullptr;
    ::_exit(thimble_machine_create(options_, &machine, nullptr));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  std::filesystem::remove(empty);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this host gives nobody a root of his own";
  EXPECT_EQ(WEXITSTATUS(status), THIMBLE_ERROR_UNSUPPORTED);
}

class CapiWithKvm : public CapiOptions {
 protected:
  void SetUp() override {
    if (!kvm_is_here()) GTEST_SKIP() << "/dev/kvm is not there or closed";
  }
};

TEST_F(CapiWithKvm, AKernelThatIsMissing) {
  thimble_machine_options_set_kernel(options_, "/nowhere/vmlinux");
  const Answer answer = create();
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_MISSING) << answer;
  EXPECT_NE(answer.message.find("/nowhere/vmlinux"), std::string::npos) << answer;
}

TEST_F(CapiWithKvm, AKernelThatIsNone) {
  const Fd file = memory_file(std::string(10000, 'x'));
  thimble_machine_options_set_kernel_fd(options_, file.get(), "letters");
  const Answer answer = create();
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_CORRUPT) << answer;
  EXPECT_NE(answer.message.find("letters"), std::string::npos) << answer;
}

TEST_F(CapiWithKvm, MemoryThatCannotBe) {
  thimble_machine_options_set_memory(options_, 4096);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
  thimble_machine_options_set_memory(options_, 1ULL << 60);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiWithKvm, ADiskOfNoWholeSectors) {
  const Fd file = memory_file("short");
  thimble_machine_options_add_disk_fd(options_, file.get(), "short", false);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiWithKvm, AnAddressThatIsNoGuests) {
  thimble_machine_options_set_vsock(options_, 2);
  EXPECT_EQ(create().kind, THIMBLE_ERROR_INVALID);
}

TEST_F(CapiWithKvm, ASocketPathInAFolderThatIsMissing) {
  thimble_machine_options_set_vsock_path(options_, 3, "/nowhere/socket");
  EXPECT_EQ(create().kind, THIMBLE_ERROR_MISSING);
}

Answer open_snapshot(int state, int memory) {
  return Answer([&](auto e) {
    auto* snapshot = reinterpret_cast<thimble_snapshot*>(1);
    const auto kind = thimble_snapshot_open(state, memory, THIMBLE_MEMORY_VERIFY, &snapshot, e);
    EXPECT_EQ(snapshot == nullptr, kind != THIMBLE_OK);
    return kind;
  });
}

TEST(CapiSnapshot, FilesThatAreNone) {
  const Fd nothing = memory_file("");
  const Fd letters = memory_file(std::string(5000, 'x'));
  EXPECT_EQ(open_snapshot(-1, nothing.get()).kind, THIMBLE_ERROR_INVALID);
  EXPECT_EQ(open_snapshot(nothing.get(), -1).kind, THIMBLE_ERROR_INVALID);
  EXPECT_EQ(open_snapshot(nothing.get(), nothing.get()).kind, THIMBLE_ERROR_CORRUPT);
  EXPECT_EQ(open_snapshot(letters.get(), letters.get()).kind, THIMBLE_ERROR_CORRUPT);
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const Fd reader(pipe[0]);
  const Fd writer(pipe[1]);
  EXPECT_EQ(open_snapshot(reader.get(), letters.get()).kind, THIMBLE_ERROR_CORRUPT);
}

TEST(CapiSnapshot, OneOfAnotherVersion) {
  std::string file = "THMBSNAP";
  file += '\7';
  file.append(200, '\0');
  const Fd state = memory_file(file);
  const Answer answer = open_snapshot(state.get(), state.get());
  EXPECT_EQ(answer.kind, THIMBLE_ERROR_MISMATCH) << answer;
}

TEST(CapiTrace, ALineIsCutAsSnprintfDoes) {
  thimble_trace_event event{};
  event.size = sizeof(event);
  event.kind = THIMBLE_TRACE_PORT_OUT;
  event.address = 0x3f8;
  event.width = 1;
  event.value = 0x41;
  event.device = "serial";
  event.reg = "THR";
  char line[200];
  const size_t length = thimble_trace_line(&event, line, sizeof(line));
  EXPECT_EQ(length, std::string_view(line).size());
  EXPECT_NE(std::string_view(line).find("serial THR"), std::string_view::npos) << line;
  EXPECT_EQ(std::string_view(line).find('\n'), std::string_view::npos);
  char start[5] = "xxxx";
  EXPECT_EQ(thimble_trace_line(&event, start, sizeof(start)), length);
  EXPECT_EQ(std::string_view(start), std::string_view(line).substr(0, 4));
  EXPECT_EQ(thimble_trace_line(&event, nullptr, 0), length);
  EXPECT_EQ(thimble_trace_line(nullptr, line, sizeof(line)), 0U);
}

}  // namespace
}  // namespace thimble
