// See launched.h.
#include "tools/cli/launched.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "pool/daemon/runtime_folder.h"

namespace thimble::cli {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxName = 40;  // a socket's path is short

Result<void> check_name(const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  };
  if (!name.empty() && name.size() <= kMaxName && name.front() != '.' && name.front() != '-' &&
      std::ranges::all_of(name, fits)) {
    return {};
  }
  return fail("'" + name + "' is no name for a VM: 1 to 40 letters, digits, '.', '-', '_'");
}

Result<std::string> folder_of_all() {
  auto folder = runtime_folder();
  if (!folder) return folder;
  std::string vms = *folder + "/vms";
  if (auto made = make_private_folder(vms); !made) return std::unexpected(made.error());
  return vms;
}

}  // namespace

Result<std::vector<Launched>> Launched::all() {
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  std::vector<Launched> all;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(*folder, code)) {
    std::string name = entry.path().filename().string();
    if (check_name(name)) all.push_back(Launched(std::move(name), entry.path().string()));
  }
  std::ranges::sort(all, {}, &Launched::name);
  return all;
}

Result<Launched> Launched::find(const std::string& name) {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  Launched launched(name, *folder + "/" + name);
  std::error_code code;
  if (!fs::exists(launched.folder_, code)) {
    return fail("no VM " + name + " was launched (see thimble status)");
  }
  return launched;
}

Result<Launched> Launched::make(const std::string& name) {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  Launched launched(name, *folder + "/" + name);
  if (launched.keeper()) {
    return fail("a VM " + name + " runs already: `thimble stop " + name + "` ends it");
  }
  launched.forget();
  if (::mkdir(launched.folder_.c_str(), 0700) != 0) {
    return fail_errno("make " + launched.folder_);
  }
  return launched;
}

std::optional<pid_t> Launched::keeper() const {
  const Fd file(::open(path("lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return std::nullopt;
  // Whoever gets the lock is not the keeper's neighbour for longer than this call.
  if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  std::array<char, 24> digits{};
  if (::pread(file.get(), digits.data(), digits.size() - 1, 0) <= 0) return std::nullopt;
  const long pid = std::strtol(digits.data(), nullptr, 10);
  if (pid <= 1) return std::nullopt;
  return static_cast<pid_t>(pid);
}

Result<Fd> Launched::lock() const {
  Fd file(::open(path("lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("open " + path("lock"));
  if (::flock(file.get(), LOCK_EX) != 0) return fail_errno("lock " + path("lock"));
  const std::string pid = std::to_string(::getpid());
  if (::pwrite(file.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail_errno("write " + path("lock"));
  }
  return file;
}

nlohmann::json Launched::facts() const {
  std::ifstream file(path("facts"));
  auto facts = nlohmann::json::parse(file, nullptr, false);
  return facts.is_object() ? facts : nlohmann::json::object();
}

// Read at any time by others: appears whole.
Result<void> Launched::write_facts(const nlohmann::json& facts) const {
  const std::string made = path("facts.new");
  {
    std::ofstream file(made);
    file << facts.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    if (!file.flush()) return fail("write " + made);
  }
  if (::rename(made.c_str(), path("facts").c_str()) != 0) return fail_errno("write " + made);
  return {};
}

void Launched::forget() const {
  std::error_code code;
  fs::remove_all(folder_, code);
}

}  // namespace thimble::cli
