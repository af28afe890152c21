// A temporary directory for one test, gone afterwards.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "pool/image/files.h"

namespace thimble::image {

class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "thimble-image-XXXXXX").string();
    const char* made = ::mkdtemp(name.data());
    if (made == nullptr) ADD_FAILURE() << "cannot make a temporary directory";
    path_ = std::filesystem::canonical(name);
  }
  ~Scratch() { remove_tree(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Writes a file below the directory, with the directories above it.
  std::filesystem::path add(const std::string& relative, const std::string& text = "x") const {
    const std::filesystem::path file = path_ / relative;
    EXPECT_TRUE(make_directories(file.parent_path()));
    EXPECT_TRUE(write_file(file, text));
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace thimble::image
