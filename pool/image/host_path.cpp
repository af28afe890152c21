// Walking a directory of the host.
#include "pool/image/host_path.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "devices/text.h"
#include "pool/image/command/places.h"
#include "pool/image/files.h"
#include "pool/image/progress.h"
#include "pool/image/sha256.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// A copy of more than this at the start of a command is surely not what the user meant.
constexpr std::uint64_t kMaxBytes = 4ULL << 30;
constexpr std::uint64_t kMaxEntries = 500'000;
// Each becomes an argument of mkfs.erofs.
constexpr std::size_t kMaxLeftOut = 2000;

class Surveyor {
 public:
  explicit Surveyor(const Request& request) : request_(request) {}

  Result<Survey> run() {
    const bool whole = request_.only.empty() && request_.links.empty();
    const Result<void> done = whole ? visit_all() : visit_some();
    if (!done) return std::unexpected(done.error());
    survey_.fingerprint = sha256_text(text_);
    return std::move(survey_);
  }

 private:
  Result<void> visit_all() {
    struct stat status{};
    if (::lstat(request_.path.c_str(), &status) != 0) return fail_errno(request_.path.string());
    if (!S_ISDIR(status.st_mode)) return fail(request_.path.string() + ": not a directory");
    if (::access(request_.path.c_str(), R_OK | X_OK) != 0) {
      return fail_errno("read " + request_.path.string());
    }
    return visit(request_.path, "");
  }

  // The directory may hold much else, and need not be readable.
  Result<void> visit_some() {
    for (const std::string& name : request_.only) {
      if (Result<void> done = visit_entry(request_.path / name, ""); !done) return done;
      text_ += "only " + name + '\n';
    }
    for (const auto& [name, target] : request_.links) {
      text_ += text("link %s %s\n", name.c_str(), target.c_str());
    }
    for (const std::string& folder : request_.folders) text_ += "folder " + folder + '\n';
    return {};
  }

  Result<void> visit(const fs::path& directory, const std::string& below) {
    std::error_code code;
    std::vector<fs::path> entries;
    for (fs::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
      entries.push_back(it->path());
    }
    if (code) return fail("read " + directory.string() + ": " + code.message());
    std::ranges::sort(entries);
    for (const fs::path& entry : entries) {
      if (Result<void> done = visit_entry(entry, below); !done) return done;
    }
    return {};
  }

  Result<void> visit_entry(const fs::path& entry, const std::string& below) {
    const std::string name = entry.filename().string();
    const std::string relative = below.empty() ? name : below + "/" + name;
    struct stat status{};
    if (::lstat(entry.c_str(), &status) != 0) return {};  // gone since the listing
    if (request_.leave_out_git && relative == ".git") return leave_out(relative);
    const mode_t type = status.st_mode & S_IFMT;
    if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK) return leave_out(relative);
    if (type != S_IFLNK && ::access(entry.c_str(), type == S_IFDIR ? R_OK | X_OK : R_OK) != 0) {
      ++survey_.unreadable;
      return leave_out(relative);
    }
    note(relative, status);
    if (type == S_IFLNK) survey_.links.push_back(relative);
    if (++survey_.files > kMaxEntries || survey_.bytes > kMaxBytes) return too_large();
    return type == S_IFDIR ? visit(entry, relative) : Result<void>();
  }

  void note(const std::string& relative, const struct stat& status) {
    const bool directory = S_ISDIR(status.st_mode);
    if (S_ISREG(status.st_mode)) survey_.bytes += static_cast<std::uint64_t>(status.st_size);
    text_ += relative + '\0' + std::to_string(status.st_mode);
    if (request_.kind == Request::Kind::kDirectory) {
      text_ += ' ' + std::to_string(status.st_uid) + ' ' + std::to_string(status.st_gid);
    }
    // A directory's own size and times change with entries that are left out.
    if (!directory) {
      for (const std::int64_t number :
           {std::int64_t{status.st_size}, std::int64_t{status.st_mtim.tv_sec},
            std::int64_t{status.st_mtim.tv_nsec}, std::int64_t{status.st_ctim.tv_sec},
            std::int64_t{status.st_ctim.tv_nsec}}) {
        text_ += ' ' + std::to_string(number);
      }
    }
    text_ += '\n';
  }

  Result<void> leave_out(const std::string& relative) {
    survey_.left_out.push_back(relative);
    if (survey_.left_out.size() > kMaxLeftOut) {
      return fail(request_.path.string() +
                  ": holds too many files that cannot be copied, such as " + relative +
                  ": name a directory inside it");
    }
    return {};
  }

  Result<void> too_large() const {
    return fail(request_.path.string() + ": too large to copy into a guest (more than " +
                std::to_string(kMaxEntries) + " files or " + human_size(kMaxBytes) +
                "): name a smaller directory inside it");
  }

  const Request& request_;
  Survey survey_;
  std::string text_;
};

}  // namespace

Result<Survey> survey_host_path(const Request& request) { return Surveyor(request).run(); }

std::vector<std::string> links_that_lead_out(const Request& request, const Survey& survey) {
  std::vector<std::string> out;
  for (const std::string& name : survey.links) {
    const fs::path link = request.path / name;
    std::error_code code;
    const fs::path target = fs::read_symlink(link, code);
    const fs::path place = (link.parent_path() / target).lexically_normal();
    if (code || is_within(place, request.path) || is_system(place)) continue;
    // An environment's own interpreter: the image's takes its place (command/venv.h).
    const fs::path folder = link.parent_path();
    if (folder.filename() == "bin" && fs::exists(folder.parent_path() / "pyvenv.cfg", code))
      continue;
    out.push_back(name + " -> " + target.string());
  }
  return out;
}

}  // namespace thimble::image
