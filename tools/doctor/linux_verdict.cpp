// See linux_verdict.h.
#include "tools/doctor/linux_verdict.h"

#include <cpuid.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "devices/base/owned_folder.h"
#include "devices/text.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kYes = "can run Linux";

Error refusal(const std::string& reason) {
  return Error{"this host cannot run Linux guests: " + reason +
               ": use tools/lab run -- build/bin/thimble run …; `thimble doctor` says more"};
}

constexpr const char* kFile = "host/linux-verdict";
constexpr size_t kLongest = size_t{1} << 16;

// The file has two lines: the key and the answer, kYes or the reason.
std::optional<std::string> remembered(const OwnedFolder& cache, const std::string& key) {
  auto whole = cache.content(kFile, kLongest);
  if (!whole) return std::nullopt;
  whole->erase(whole->find_last_not_of(" \t\n") + 1);
  if (!whole->starts_with(key + "\n")) return std::nullopt;
  return whole->substr(key.size() + 1);
}

// A reader finds the old answer or the new one. A cache that cannot be written only costs the next
// run its time.
void remember(const OwnedFolder& cache, const std::string& key, const std::string& answer) {
  if (!cache.make_folder("host")) return;
  [[maybe_unused]] auto kept =
      cache.replace(kFile, key + "\n" + answer + "\n", OwnedFolder::Durable::kNo);
}

// Ours, or there is nothing to be remembered.
std::optional<OwnedFolder> open_cache(const fs::path& cache, bool keep) {
  if (!keep) return std::nullopt;
  auto folder = OwnedFolder::make(cache, {.others_may_read = true, .may_be_link = true});
  return folder ? std::optional(std::move(*folder)) : std::nullopt;
}

// From the processor itself (CPUID leaves 0x80000002 to 0x80000004): to list all that it can, as
// /proc/cpuinfo does, takes the host's kernel longer than all else here.
std::string processor_name() {
  constexpr unsigned kFirst = 0x80000002;
  constexpr unsigned kLast = 0x80000004;
  std::string name;
  for (unsigned leaf = kFirst; leaf <= kLast; ++leaf) {
    std::array<unsigned, 4> part{};
    if (__get_cpuid(leaf, &part[0], &part[1], &part[2], &part[3]) == 0) break;
    name.append(reinterpret_cast<const char*>(part.data()), sizeof part);
  }
  std::erase_if(name, [](char c) { return c < ' ' || c > '~'; });  // it ends with NULs
  return name;
}

}  // namespace

std::string host_key(const char* device) {
  utsname name{};
  struct stat info{};
  const auto boot = read_text("/proc/sys/kernel/random/boot_id");
  if (!boot || ::uname(&name) != 0 || ::stat(device, &info) != 0) return "";
  return text("%s %s %s device %lu %ld.%ld", boot->c_str(), name.release, processor_name().c_str(),
              info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

Result<void> linux_verdict(const fs::path& cache, const char* device,
                           HostProbe (*ask)(const ProbeOptions&)) {
  // May we open it at all: asked every time, since groups change without a new boot.
  auto kvm = Kvm::open(device);
  if (!kvm) return std::unexpected(refusal(kvm.error().message));
  const std::string key = host_key(device);
  const auto folder = open_cache(cache, !cache.empty() && !key.empty());
  std::optional<std::string> answer = folder ? remembered(*folder, key) : std::nullopt;
  if (!answer) {
    ProbeOptions options;
    options.device = device;
    options.only_syscall = true;
    const HostProbe probe = ask(options);
    answer = probe.can_run_linux ? std::string(kYes) : probe.reason;
    if (folder && probe.certain) remember(*folder, key, *answer);
  }
  if (*answer == kYes) return {};
  return std::unexpected(refusal(*answer));
}

}  // namespace thimble::doctor
