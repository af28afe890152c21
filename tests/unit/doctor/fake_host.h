// A made-up /proc and /sys for the doctor to read.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tools/doctor/checks.h"

namespace thimble::doctor::test {

class FakeHost {
 public:
  FakeHost() {
    char name[] = "/tmp/thimble-doctor.XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    root_ = name;
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  ~FakeHost() { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  [[nodiscard]] Places places() const {
    Places places;
    places.root = root_;
    places.cache = root_ / "cache" / "thimble";
    return places;
  }
  [[nodiscard]] std::filesystem::path root() const { return root_; }

 private:
  std::filesystem::path root_;
};

// The finding of a key; a test that looks for one that is not there fails on its level.
inline Finding find(const Findings& findings, const std::string& key) {
  for (const Finding& finding : findings) {
    if (finding.key == key) return finding;
  }
  return {.key = "", .level = Level::kNo, .what = "no finding " + key, .fix = ""};
}

inline nlohmann::json fact(const Finding& finding, const std::string& name) {
  for (const auto& [key, value] : finding.facts) {
    if (key == name) return value;
  }
  return nullptr;
}

}  // namespace thimble::doctor::test
