// What the doctor found out: one line for a person, flat facts for a program.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace thimble::doctor {

enum class Level { kOk, kNote, kSlow, kNo };

struct Finding {
  std::string key;  // stable name, e.g. "io_uring": a key of the JSON output
  Level level = Level::kOk;
  std::string what;  // one plain sentence
  std::string fix;   // what to do about it; empty when there is nothing to do
  // More keys for the JSON output, e.g. {"kvm_create_us", 120}.
  std::vector<std::pair<std::string, nlohmann::json>> facts = {};
};

using Findings = std::vector<Finding>;

// Where the doctor looks. Tests give it a made-up tree.
struct Places {
  std::filesystem::path root = "/";  // of /proc and /sys
  std::filesystem::path cache;       // thimble's cache directory; need not exist
  std::string kernel;                // the guest kernel that `thimble run` would take, or empty
};

const char* name_of(Level level);  // "ok", "note", "slow", "no"

}  // namespace thimble::doctor
