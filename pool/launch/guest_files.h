// Where `thimble` finds the guest's kernel and initramfs.
#pragma once

#include <filesystem>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::launch {

// The file that runs, as /proc has it; empty without /proc.
std::filesystem::path this_program();

// The user's --kernel when given, else $THIMBLE_KERNEL, else the one that was installed with
// `program` (PREFIX/bin/thimble has PREFIX/lib/thimble/vmlinux), else the one that tools/kernel
// built into the cache. The file exists; whether it is a kernel is for the loader to say.
Result<std::filesystem::path> find_kernel(const std::string& given,
                                          const std::filesystem::path& program = this_program());

// The embedded initramfs as a file: a sealed memory file, which dies with its descriptor, to be
// named by /proc/self/fd/N.
Result<Fd> init_file();

// "/proc/self/fd/N".
std::string path_of(const Fd& fd);

// The cache: ${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}; empty without a home.
std::filesystem::path cache_directory();

}  // namespace thimble::launch
