// Words as execve(2) and its kin want them.
#pragma once

#include <string>
#include <vector>

namespace thimble {

// Points into `words`, which stay as they are meanwhile; the last one is null.
inline std::vector<char*> argument_pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace thimble
