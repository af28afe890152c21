// Reading the small files of /proc and /sys.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace thimble::doctor {

// The whole file (at most 1 MiB) without white space at its end; nothing when it cannot be read.
std::optional<std::string> read_text(const std::filesystem::path& file);

// As read_text(), cut at line ends.
std::vector<std::string> read_lines(const std::filesystem::path& file);

// The word that a file like "always [madvise] never" marks as chosen; empty when there is none.
std::string chosen_word(const std::string& line);

std::vector<std::string> words_of(const std::string& line, char separator = ' ');

}  // namespace thimble::doctor
