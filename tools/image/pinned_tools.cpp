// See pinned_tools.h.
#include "tools/image/pinned_tools.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "pool/image/files.h"
#include "tools/image/beneath.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// Whatever the umask: in root's builds the jail reads it as nobody.
constexpr mode_t kForAll = 0755;

FileResult<OwnedFolder> make_readable(const OwnedFolder& above, const std::string& name) {
  auto made = above.make_folder(name);
  if (made) ::fchmod(made->fd(), kForAll);  // one of root's stays as root made it
  return made;
}

FileResult<void> look_at_files(const OwnedFolder& tool) {
  const auto files = tool.names();
  if (!files) return std::unexpected(files.error());
  for (const std::string& name : *files) {
    if (const auto file = tool.read(name); !file) return std::unexpected(file.error());
  }
  return {};
}

FileResult<void> look_at_tools(const OwnedFolder& pinned) {
  const auto tools = pinned.names();
  if (!tools) return std::unexpected(tools.error());
  for (const std::string& name : *tools) {
    const auto tool = pinned.folder(name);
    if (!tool) return std::unexpected(tool.error());
    if (auto fits = look_at_files(*tool); !fits) return fits;
  }
  return {};
}

Result<void> copy_to(const fs::path& place, int from) {
  const Descriptor file(::open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno("create " + place.string());
  for (;;) {
    const ssize_t sent = ::sendfile(file.get(), from, nullptr, 1 << 30);
    if (sent == 0) break;
    if (sent < 0 && errno != EINTR) return fail_errno("write " + place.string());
  }
  if (::fchmod(file.get(), kForAll) != 0) return fail_errno("set the mode of " + place.string());
  return {};
}

}  // namespace

Result<PinnedTools> PinnedTools::open(const fs::path& cache) {
  // In a cache that is closed to others it does not matter what a umask of 002 has made.
  auto whole = OwnedFolder::open(cache, {.may_be_link = true});
  if (!whole) whole = OwnedFolder::make(cache, {.others_may_read = true, .may_be_link = true});
  if (!whole) return std::unexpected(whole.error());
  const auto npm = whole->make_folder("npm");
  if (!npm) return std::unexpected(npm.error());
  auto pinned = make_readable(*npm, "pinned");
  if (!pinned) return std::unexpected(pinned.error());
  if (const auto fit = look_at_tools(*pinned); !fit) return std::unexpected(fit.error());
  return PinnedTools(std::move(*pinned));
}

Result<void> PinnedTools::keep(const PinnedPackage& package, const fs::path& fetched,
                               const fs::path& work) const {
  const fs::path place = pinned_place({}, package);
  const std::string name = place.filename();
  const auto tool = make_readable(folder_, place.parent_path().filename());
  if (!tool) return std::unexpected(tool.error());
  const Result<Folder> folder = Folder::open(fetched);
  if (!folder) return std::unexpected(folder.error());
  const Result<Descriptor> file = folder->open_regular(name);
  if (!file) return std::unexpected(file.error());
  const fs::path copy = work / ("kept-" + name);
  remove_tree(copy);
  Result<void> done = copy_to(copy, file->get());
  if (done && ::renameat(AT_FDCWD, copy.c_str(), tool->fd(), name.c_str()) != 0) {
    done = fail_errno("name " + tool->path_of(name));
  }
  if (!done) remove_tree(copy);
  return done;
}

}  // namespace thimble::image
