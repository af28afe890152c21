// The subcommands `thimble image …` and `thimble prepare`. Results go to stdout, progress and
// errors to stderr. Both take argv from their own word on: argv[0] is "image" or "prepare".
#pragma once

namespace thimble::image {

// Exit status: 0 done, 1 could not be done, 2 for wrong usage.
int image_main(int argc, char** argv);
int prepare_main(int argc, char** argv);

}  // namespace thimble::image
