// The values of --env K=V are often secrets. A process's words can be read by every user of the
// host for as long as it runs, so they are taken out of ours once they are understood.
#pragma once

#include <span>

#include "tools/cli/options.h"

namespace thimble::cli {

// Overwrites the values in the words of the process itself (argv of main()), up to "--".
void hide_env_values(std::span<char* const> words);

// The same words with K in the place of K=V, to be shown and kept in files.
Arguments without_env_values(Arguments words);

}  // namespace thimble::cli
