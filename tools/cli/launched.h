// VMs that `thimble launch` made and that run on without a terminal: one folder each in the runtime
// folder (pool/daemon/runtime_folder.h), which goes with `thimble stop`.
//
//   vms/NAME/lock    locked by the supervisor of the VM as long as it lives; holds its pid
//   vms/NAME/socket  a stream: the server's stdin and stdout, for one client after another
//   vms/NAME/log     the server's stderr and what thimble says; log.1: what came before
//   vms/NAME/facts   JSON: command, start, and the exit status once it has ended
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::cli {

class Launched {
 public:
  // Every one of them, by name. None when there is no place for them.
  static Result<std::vector<Launched>> all();
  static Result<Launched> find(const std::string& name);
  // A new one, its folder made. The name must be free: of one that has ended the folder is
  // replaced.
  static Result<Launched> make(const std::string& name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string path(const char* file) const { return folder_ + "/" + file; }
  [[nodiscard]] FileResult<OwnedFolder> folder() const { return OwnedFolder::open(folder_); }
  // Of its supervisor; nothing when that has ended. An error says neither.
  [[nodiscard]] Result<std::optional<pid_t>> supervisor() const;
  [[nodiscard]] nlohmann::json facts() const;
  Result<void> write_facts(const nlohmann::json& facts) const;
  // The supervisor's: locks, for as long as the result lives.
  [[nodiscard]] Result<Fd> lock() const;
  void forget() const;

 private:
  Launched(std::string name, std::string folder)
      : name_(std::move(name)), folder_(std::move(folder)) {}
  std::string name_;
  std::string folder_;
};

}  // namespace thimble::cli
