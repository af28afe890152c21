// What the words after node, python or a shell are: files of the program, code, a module, or just
// arguments. Follows each program's own command line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace thimble::image {

enum class Runtime { kNone, kNode, kPython, kShell };

// By its file name: "node", "python3.11", "sh".
Runtime runtime_of(const std::string& program);

struct Invocation {
  std::vector<std::size_t> programs;  // words that are files of the program: script, --require x
  std::size_t script = 0;             // the one of them that is run; 0: none
  std::vector<std::size_t> code;      // words that are source text or a module's name
  std::string module;                 // python's -m
};

// `words` begins with the runtime's own name.
Invocation read_invocation(Runtime runtime, const std::vector<std::string>& words);

}  // namespace thimble::image
