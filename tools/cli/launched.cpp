// See launched.h.
#include "tools/cli/launched.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "devices/base/file_lock.h"
#include "devices/foreign_json.h"
#include "pool/daemon/runtime_folder.h"

namespace thimble::cli {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxName = 40;  // a socket's path is short
constexpr size_t kMaxFacts = size_t{4} << 20;

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

Result<OwnedFolder> folder_of_all() {
  auto folder = runtime_folder();
  if (!folder) return folder;
  return folder->make_folder("vms");
}

}  // namespace

Result<std::vector<Launched>> Launched::all() {
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  auto names = folder->names();
  if (!names) return std::unexpected(names.error());
  std::vector<Launched> all;
  for (std::string& name : *names) {
    if (!check_name(name)) continue;
    std::string path = folder->path_of(name);
    all.push_back(Launched(std::move(name), std::move(path)));
  }
  return all;
}

Result<Launched> Launched::find(const std::string& name) {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  if (auto there = folder->folder(name); !there) {
    if (there.error().kind != FileFault::Kind::kMissing) return std::unexpected(there.error());
    return fail("no VM " + name + " was launched (see thimble status)");
  }
  return Launched(name, folder->path_of(name));
}

Result<Launched> Launched::make(const std::string& name) {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  auto folder = folder_of_all();
  if (!folder) return std::unexpected(folder.error());
  Launched launched(name, folder->path_of(name));
  auto supervisor = launched.supervisor();
  if (!supervisor) return std::unexpected(supervisor.error());
  if (*supervisor) {
    return fail("a VM " + name + " runs already: `thimble stop " + name + "` ends it");
  }
  launched.forget();
  if (auto made = folder->make_folder(name); !made) return std::unexpected(made.error());
  return launched;
}

Result<std::optional<pid_t>> Launched::supervisor() const {
  const auto gone = [](const FileFault& why) { return why.kind == FileFault::Kind::kMissing; };
  const auto own = folder();
  if (!own && gone(own.error())) return std::nullopt;
  if (!own) return std::unexpected(own.error());
  const auto file = own->read("lock");
  if (!file && gone(file.error())) return std::nullopt;
  if (!file) return std::unexpected(file.error());
  // Whoever gets the lock is not the supervisor's neighbour for longer than this call.
  const auto free = lock_file(file->get(), {.shared = true}, own->path_of("lock"));
  if (!free) return std::unexpected(free.error());
  if (*free) return std::nullopt;
  const pid_t pid = lock_holder(*own, "lock");
  if (pid <= 1) return std::nullopt;
  return pid;
}

Result<Fd> Launched::lock() const {
  const auto own = folder();
  if (!own) return std::unexpected(own.error());
  auto file = own->write_to("lock");
  if (!file) return std::unexpected(file.error());
  if (auto locked = lock_file(file->get(), {.wait = true}, path("lock")); !locked) {
    return std::unexpected(locked.error());
  }
  const std::string pid = std::to_string(::getpid());
  if (::pwrite(file->get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail_errno("write " + path("lock"));
  }
  return std::move(*file);
}

nlohmann::json Launched::facts() const {
  const auto own = folder();
  const std::string content = own ? own->content("facts", kMaxFacts).value_or("") : std::string();
  auto facts = read_foreign_json(content, kMaxFacts);
  return facts.is_object() ? facts : nlohmann::json::object();
}

// Read at any time by others: appears whole.
Result<void> Launched::write_facts(const nlohmann::json& facts) const {
  const auto own = folder();
  if (!own) return std::unexpected(own.error());
  const auto text = facts.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  auto written = own->replace("facts", text, OwnedFolder::Durable::kNo);
  if (!written) return std::unexpected(written.error());
  return {};
}

void Launched::forget() const {
  std::error_code code;
  fs::remove_all(folder_, code);
}

}  // namespace thimble::cli
