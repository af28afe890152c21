// See script.h.
#include "pool/image/command/script.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// As much as Linux reads of it.
constexpr std::size_t kLongestLine = 256;

std::string first_line(const fs::path& file) {
  const Descriptor open(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::array<char, kLongestLine> bytes{};
  const ssize_t count = open ? ::read(open.get(), bytes.data(), bytes.size()) : 0;
  const std::string text(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  return text.substr(0, text.find('\n'));
}

// "#!/usr/bin/env -S VAR=1 node --option": the interpreter is node.
std::string interpreter_of(const std::string& line) {
  std::istringstream words(line.substr(2));
  std::string word;
  words >> word;
  if (fs::path(word).filename() != "env") return word;
  while (words >> word) {
    if (word[0] != '-' && word.find('=') == std::string::npos) return word;
  }
  return {};
}

}  // namespace

Script read_script(const fs::path& file) {
  const std::string line = first_line(file);
  if (line.starts_with("#!")) {
    Script script;
    script.interpreter = interpreter_of(line);
    script.runtime = runtime_of(fs::path(script.interpreter).filename());
    return script;
  }
  const std::string extension = file.extension().string();
  if (extension == ".js" || extension == ".mjs" || extension == ".cjs") {
    return {Runtime::kNode, "node"};
  }
  if (extension == ".py") return {Runtime::kPython, "python3"};
  return {};
}

}  // namespace thimble::image
