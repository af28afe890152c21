// `thimble doctor`: what this host can do, in plain words.
#pragma once

#include <string>
#include <vector>

#include "tools/doctor/finding.h"

namespace thimble::doctor {

// `arguments` without the subcommand's own name. Exit status: 0 when this host can run Linux
// guests, 1 when not, 2 when the command line is wrong.
int doctor_main(const std::vector<std::string>& arguments, const Places& places);

}  // namespace thimble::doctor
