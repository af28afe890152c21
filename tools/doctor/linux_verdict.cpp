// See linux_verdict.h.
#include "tools/doctor/linux_verdict.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "devices/fd.h"
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

// The file has two lines: the key and the answer, kYes or the reason.
std::optional<std::string> remembered(const fs::path& file, const std::string& key) {
  const auto whole = read_text(file);
  if (!whole || !whole->starts_with(key + "\n")) return std::nullopt;
  return whole->substr(key.size() + 1);
}

// Written beside and renamed, so that a reader finds the old answer or the new one. A cache that
// cannot be written only costs the next run its time.
void remember(const fs::path& file, const std::string& key, const std::string& answer) {
  std::error_code ignored;
  fs::create_directories(file.parent_path(), ignored);
  std::string fresh = file.string() + ".XXXXXX";
  const Fd out(::mkostemp(fresh.data(), O_CLOEXEC));
  if (!out) return;
  const std::string whole = key + "\n" + answer + "\n";
  const bool written =
      ::write(out.get(), whole.data(), whole.size()) == static_cast<ssize_t>(whole.size());
  if (!written || ::rename(fresh.c_str(), file.c_str()) != 0) ::unlink(fresh.c_str());
}

}  // namespace

std::string host_key(const char* device) {
  utsname name{};
  struct stat info{};
  const auto boot = read_text("/proc/sys/kernel/random/boot_id");
  if (!boot || ::uname(&name) != 0 || ::stat(device, &info) != 0) return "";
  std::string model;
  for (const std::string& line : read_lines("/proc/cpuinfo")) {
    if (line.starts_with("vendor_id") || line.starts_with("model name")) model += line;
    if (line.starts_with("flags")) break;
  }
  return text("%s %s %s device %lu %ld.%ld", boot->c_str(), name.release, model.c_str(),
              info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

Result<void> linux_verdict(const fs::path& cache, const char* device,
                           HostProbe (*ask)(const ProbeOptions&)) {
  // May we open it at all: asked every time, since groups change without a new boot.
  auto kvm = Kvm::open(device);
  if (!kvm) return std::unexpected(refusal(kvm.error().message));
  const fs::path file = cache.empty() ? fs::path() : cache / "host" / "linux-verdict";
  const std::string key = host_key(device);
  const bool keep = !file.empty() && !key.empty();
  std::optional<std::string> answer = keep ? remembered(file, key) : std::nullopt;
  if (!answer) {
    ProbeOptions options;
    options.device = device;
    options.only_syscall = true;
    const HostProbe probe = ask(options);
    answer = probe.can_run_linux ? std::string(kYes) : probe.reason;
    if (keep && probe.certain) remember(file, key, *answer);
  }
  if (*answer == kYes) return {};
  return std::unexpected(refusal(*answer));
}

}  // namespace thimble::doctor
