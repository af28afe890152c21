// What a guest says that could not start a command, in the user's terms: a line, and the exit
// status that env(1) and a shell would give.
#pragma once

#include <cstdint>
#include <string>

namespace thimble {

struct StartFailure {
  uint32_t step = 0;  // protocol::Step; 0: none of the guest's
  uint32_t error = 0;
  std::string text;  // what was tried; printable
};

// What was asked for.
struct StartWords {
  std::string command;
  std::string workdir;
  std::string user;
};

struct Explained {
  int status = 0;
  std::string line;
};

Explained explain(const StartFailure& failure, const StartWords& asked);

}  // namespace thimble
