// Files and directories: std::filesystem with error codes turned into messages.
#include "pool/image/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

std::unexpected<Error> fail_code(std::string_view what, const std::error_code& code) {
  return fail(std::string(what) + ": " + code.message());
}

Result<void> copy_with(const fs::path& from, const fs::path& to, fs::copy_options options) {
  std::error_code code;
  fs::copy(from, to, options | fs::copy_options::recursive | fs::copy_options::copy_symlinks, code);
  if (code) return fail_code("copy " + from.string() + " to " + to.string(), code);
  return {};
}

}  // namespace

Result<std::string> read_descriptor(int fd, std::uint64_t limit, const std::string& shown) {
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + shown);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > limit) return fail("read " + shown + ": larger than expected");
  }
}

Result<void> write_descriptor(int fd, std::string_view text, const std::string& shown) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write " + shown);
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

Result<std::string> read_file(const fs::path& path, std::uint64_t limit) {
  // Not blocking, so that a FIFO is refused and not waited for.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) != 0) return fail_errno("open " + path.string());
  if (!S_ISREG(status.st_mode)) return fail("open " + path.string() + ": it is no regular file");
  return read_descriptor(file.get(), limit, path.string());
}

Result<void> write_file(const fs::path& path, std::string_view text) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return fail_errno("create " + path.string());
  return write_descriptor(file.get(), text, path.string());
}

Result<void> replace_file(const fs::path& path, std::string_view text) {
  const fs::path temporary = path.string() + "." + std::to_string(::getpid()) + ".new";
  Result<void> done = write_file(temporary, text);
  if (done) done = sync_file(temporary);
  if (done) done = rename_path(temporary, path);
  if (!done) ::unlink(temporary.c_str());
  return done;
}

Result<void> sync_file(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("open " + path.string());
  if (::fsync(file.get()) != 0) return fail_errno("write " + path.string() + " to disk");
  return {};
}

Result<void> make_directories(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) return fail_code("create directory " + path.string(), code);
  return {};
}

Result<void> copy_regular(const fs::path& from, const fs::path& to) {
  std::error_code code;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, code);
  if (code) return fail_code("copy " + from.string() + " to " + to.string(), code);
  return {};
}

Result<void> copy_tree(const fs::path& from, const fs::path& to) {
  return copy_with(from, to, fs::copy_options::overwrite_existing);
}

Result<void> link_tree(const fs::path& from, const fs::path& to) {
  return copy_with(from, to, fs::copy_options::create_hard_links);
}

Result<void> make_symlink(const fs::path& target, const fs::path& link) {
  std::error_code code;
  fs::create_symlink(target, link, code);
  if (code) return fail_code("link " + link.string() + " to " + target.string(), code);
  return {};
}

Result<void> rename_path(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return fail_errno("rename " + from.string() + " to " + to.string());
  }
  return {};
}

std::uint64_t tree_size(const fs::path& path) {
  std::uint64_t total = 0;
  std::error_code code;
  for (fs::recursive_directory_iterator it(path, code), end; !code && it != end;
       it.increment(code)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && !it->is_symlink(ignored)) {
      const std::uint64_t size = it->file_size(ignored);
      if (!ignored) total += size;
    }
  }
  return total;
}

std::vector<fs::path> list_directory(const fs::path& path) {
  std::vector<fs::path> entries;
  std::error_code code;
  for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
    entries.push_back(it->path());
  }
  std::ranges::sort(entries);
  return entries;
}

bool is_within(const fs::path& path, const fs::path& root) {
  const auto [at_root, at_path] = std::ranges::mismatch(root, path);
  return at_root == root.end();
}

}  // namespace thimble::image
