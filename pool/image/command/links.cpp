// See links.h.
#include "pool/image/command/links.h"

#include <sys/stat.h>
#include <unistd.h>

#include "pool/image/command/package_root.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

bool is_of_root(const fs::path& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && status.st_uid == 0;
}

// How the machine's administrator laid out its disks.
bool is_administrators(const fs::path& link) {
  return ::geteuid() != 0 && is_of_root(link) && is_of_root(link.parent_path());
}

bool may_lead(const fs::path& link, const fs::path& target, LinkRule rule, const Places& places) {
  const fs::path holder = link.parent_path();
  if (is_within(target, holder)) return true;
  const bool commands = holder.filename() == "bin" || holder.filename() == ".bin";
  if (rule == LinkRule::kProgram && commands) return true;
  const fs::path project = project_root(holder, places);
  if (!project.empty()) {
    if (is_within(target, project)) return true;
  } else if (!places.is_forbidden(places.cwd) && is_within(holder, places.cwd) &&
             is_within(target, places.cwd)) {
    return true;
  }
  return is_administrators(link);
}

}  // namespace

Result<fs::path> follow_links(const fs::path& written, LinkRule rule, const Places& places) {
  std::error_code code;
  const fs::path whole = fs::canonical(written, code);
  if (code) return fail(written.string() + ": " + code.message());
  if (whole == written) return written;
  fs::path at = "/";
  for (const fs::path& part : written.relative_path()) {
    const fs::path next = at / part;
    if (!fs::is_symlink(next, code)) {
      at = next;
      continue;
    }
    const fs::path target = fs::canonical(next, code);
    if (code) return fail(next.string() + ": " + code.message());
    if (!may_lead(next, target, rule, places)) {
      return fail(written.string() + ": the symbolic link " + next.string() + " leads to " +
                  target.string() + ", which the command does not name: name that itself");
    }
    at = target;
  }
  return at;
}

}  // namespace thimble::image
