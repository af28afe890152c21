// What the rest of thimble sees of an image: where its read-only root file system lies and how to
// start what is in it. Plain data; made by Store (store.h) or plan.h, owned by the caller.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace thimble::image {

struct Image {
  std::string name;             // "node", "npm:@scope/pkg@latest", a user's name, or a path
  std::string digest;           // sha256 of manifest.json in hex; empty for a bare erofs file
  std::filesystem::path erofs;  // the root file system, never written to
  std::uint64_t size = 0;       // bytes of `erofs`
  std::vector<std::string> default_command;                  // argv; empty: the user must name one
  std::map<std::string, std::vector<std::string>> commands;  // npm bin name -> argv
  std::map<std::string, std::string> env;  // the server's environment to start from
  std::string workdir = "/";               // absolute, in the guest
};

// In the environment of images whose runtime reseeds its random numbers in a clone (reseed.h). The
// variable has the name that it has in the manifests of images that are there.
inline constexpr const char* kReseedsVariable = "THIMBLE_RENEWS";

// The environment of an image that says nothing about it.
std::map<std::string, std::string> base_environment();

}  // namespace thimble::image
