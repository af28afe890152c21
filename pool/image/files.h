// Files and directories as image building needs them: owned descriptors, whole-file reads, writes
// that appear at once or not at all, copies, sizes. Every failure names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::image {

using Descriptor = Fd;

// Reads at most `limit` bytes; a larger file is an error.
Result<std::string> read_file(const std::filesystem::path& path, std::uint64_t limit = 64 << 20);
Result<void> write_file(const std::filesystem::path& path, std::string_view text);
// The same of files that are open; `shown` is their name in messages.
Result<std::string> read_descriptor(int fd, std::uint64_t limit, const std::string& shown);
Result<void> write_descriptor(int fd, std::string_view text, const std::string& shown);
// Through a temporary file beside it, fsync and rename.
Result<void> replace_file(const std::filesystem::path& path, std::string_view text);
Result<void> sync_file(const std::filesystem::path& path);

Result<void> make_directories(const std::filesystem::path& path);
Result<void> copy_regular(const std::filesystem::path& from, const std::filesystem::path& to);
// Recursive; symbolic links stay links, existing directories are merged.
Result<void> copy_tree(const std::filesystem::path& from, const std::filesystem::path& to);
// The same with hard links in place of copies: only for trees whose files are replaced, not edited.
Result<void> link_tree(const std::filesystem::path& from, const std::filesystem::path& to);
Result<void> make_symlink(const std::filesystem::path& target, const std::filesystem::path& link);
Result<void> rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// Removes what it can, follows no symbolic link; what is missing is fine.
void remove_tree(const std::filesystem::path& path);

std::uint64_t tree_size(const std::filesystem::path& path);
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& path);  // sorted

// True when `path` is `root` or lies below it. Both absolute and lexically normal.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& root);

}  // namespace thimble::image
