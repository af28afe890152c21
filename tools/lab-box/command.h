// What a client asks the agent to run: the contents of an Exec frame.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"

namespace thimble::lab {

struct Command {
  std::string directory;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::vector<std::string> arguments;    // never empty
  std::vector<std::string> environment;  // NAME=VALUE

  [[nodiscard]] std::string pack() const;
  static Result<Command> unpack(std::string_view payload);
};

}  // namespace thimble::lab
