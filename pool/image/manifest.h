// manifest.json beside every image: what is in the root file system and how to start it. Its
// SHA-256 is the image's digest, so it holds nothing that changes between equal builds (no times,
// no host names). Each start reads it; what is only for people, the inputs that the image was made
// from, is in inputs.json, whose SHA-256 is here.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

// Raised whenever the same request would be built differently: older images are built anew.
inline constexpr int kBuilderVersion = 5;

struct Manifest {
  std::string name;  // what was built, with the exact version: "npm:@scope/pkg@1.2.3"
  std::string rootfs_sha256;
  std::uint64_t rootfs_size = 0;
  std::string inputs_sha256;
  std::vector<std::string> command;
  std::map<std::string, std::vector<std::string>> commands;
  std::map<std::string, std::string> env;
  std::string workdir = "/";
};

std::string manifest_to_json(const Manifest& manifest);

// Refuses anything that is not wholly sound; `where` names the file in the message.
Result<Manifest> manifest_from_json(std::string_view text, const std::string& where);

// JSON for files and output: invalid UTF-8 becomes U+FFFD, keys are sorted.
std::string to_text(const nlohmann::json& value);

}  // namespace thimble::image
