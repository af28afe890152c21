// See invocation.h.
#include "pool/image/command/invocation.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "pool/image/command/words.h"

namespace thimble::image {
namespace {

// Options of node whose value is the next word.
bool loads_a_file(std::string_view option) {
  constexpr std::array<std::string_view, 5> kLoading = {"-r", "--require", "--import", "--loader",
                                                        "--experimental-loader"};
  return is_one_of(kLoading, option);
}

bool takes_a_word(std::string_view option) {
  constexpr std::array<std::string_view, 10> kTaking = {"-C",
                                                        "--conditions",
                                                        "--env-file",
                                                        "--env-file-if-exists",
                                                        "--input-type",
                                                        "--title",
                                                        "--inspect-port",
                                                        "--max-http-header-size",
                                                        "--icu-data-dir",
                                                        "--unhandled-rejections"};
  return is_one_of(kTaking, option);
}

bool evaluates(std::string_view option) {
  constexpr std::array<std::string_view, 5> kCode = {"-e", "--eval", "-p", "--print", "-pe"};
  return is_one_of(kCode, option);
}

void set_script(Invocation& found, std::size_t word) {
  found.programs.push_back(word);
  found.script = word;
}

Invocation read_node(const Words& words) {
  Invocation found;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (evaluates(word)) {
      if (i + 1 < words.size()) found.code.push_back(i + 1);
      return found;
    }
    if (loads_a_file(word.substr(0, word.find('=')))) {
      if (word.find('=') == std::string::npos) ++i;
      if (i < words.size()) found.programs.push_back(i);
    } else if (takes_a_word(word)) {
      ++i;
    } else if (word == "--") {
      if (i + 1 < words.size()) set_script(found, i + 1);
      return found;
    } else if (!word.starts_with('-')) {
      set_script(found, i);
      return found;
    } else if (word == "-") {
      return found;
    }
  }
  return found;
}

// One cluster such as -Im: the letter that takes a value ends it. False: the options end here.
bool read_python_cluster(const Words& words, std::size_t& i, Invocation& found) {
  const std::string& word = words[i];
  for (std::size_t at = 1; at < word.size(); ++at) {
    if (std::string_view("cmWX").find(word[at]) == std::string_view::npos) continue;
    const bool glued = at + 1 < word.size();
    if (word[at] == 'c' && !glued) found.code.push_back(i + 1);
    if (word[at] == 'm') {
      found.module = glued ? word.substr(at + 1) : i + 1 < words.size() ? words[i + 1] : "";
      if (!glued) found.code.push_back(i + 1);  // a name, no path
    }
    if (word[at] == 'c' || word[at] == 'm') return false;
    if (!glued) ++i;
    return true;
  }
  return true;
}

Invocation read_python(const Words& words) {
  Invocation found;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--check-hash-based-pycs") {
      ++i;
    } else if (word.starts_with("--") && word.size() > 2) {
      continue;
    } else if (word == "-") {
      return found;
    } else if (word.starts_with('-') && word != "--") {
      if (!read_python_cluster(words, i, found)) return found;
    } else {
      if (word == "--") ++i;
      if (i < words.size()) set_script(found, i);
      return found;
    }
  }
  return found;
}

Invocation read_shell(const Words& words) {
  Invocation found;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool option = word.size() > 1 && (word[0] == '-' || word[0] == '+');
    if (word == "-o" || word == "+o" || word == "-O" || word == "+O") {
      ++i;
    } else if (option && word[1] != '-' && word.find('c') != std::string::npos) {
      if (i + 1 < words.size()) found.code.push_back(i + 1);
      return found;
    } else if (!option) {
      if (word != "-") set_script(found, i);
      return found;
    }
  }
  return found;
}

}  // namespace

Runtime runtime_of(const std::string& program) {
  constexpr std::array<std::string_view, 5> kShells = {"sh", "bash", "ash", "dash", "zsh"};
  if (program == "node" || program == "nodejs") return Runtime::kNode;
  if (program.starts_with("python") &&
      program.find_first_not_of("0123456789.", 6) == std::string::npos) {
    return Runtime::kPython;
  }
  return is_one_of(kShells, program) ? Runtime::kShell : Runtime::kNone;
}

Invocation read_invocation(Runtime runtime, const Words& words) {
  switch (runtime) {
    case Runtime::kNode:
      return read_node(words);
    case Runtime::kPython:
      return read_python(words);
    case Runtime::kShell:
      return read_shell(words);
    case Runtime::kNone:
      return {};
  }
  return {};
}

}  // namespace thimble::image
