// Which runtime a script wants: by its first line, else by its name.
#pragma once

#include <filesystem>
#include <string>

#include "pool/image/command/invocation.h"

namespace thimble::image {

struct Script {
  Runtime runtime = Runtime::kNone;  // kNone: none that is known here, or no script at all
  std::string interpreter;           // as the first line names it: "python3.12", "/p/bin/python"
};

Script read_script(const std::filesystem::path& file);

}  // namespace thimble::image
