// See host_files.h.
#include "tools/doctor/host_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <sstream>

#include "devices/fd.h"

namespace thimble::doctor {

std::optional<std::string> read_text(const std::filesystem::path& file) {
  constexpr size_t kLimit = 1 << 20;
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return std::nullopt;
  std::string out;
  std::array<char, 4096> part;
  while (out.size() < kLimit) {
    const ssize_t got = ::read(fd.get(), part.data(), part.size());
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    out.append(part.data(), static_cast<size_t>(got));
  }
  out.erase(out.find_last_not_of(" \t\n") + 1);
  return out;
}

std::vector<std::string> words_of(const std::string& line, char separator) {
  std::vector<std::string> words;
  std::istringstream in(line);
  for (std::string word; std::getline(in, word, separator);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

std::vector<std::string> read_lines(const std::filesystem::path& file) {
  const auto whole = read_text(file);
  return whole ? words_of(*whole, '\n') : std::vector<std::string>{};
}

std::string chosen_word(const std::string& line) {
  const size_t open = line.find('[');
  const size_t close = line.find(']', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return "";
  return line.substr(open + 1, close - open - 1);
}

}  // namespace thimble::doctor
