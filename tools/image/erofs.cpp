// mkfs.erofs with fixed inputs.
#include "tools/image/erofs.h"

#include "pool/image/erofs_check.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace {

// Of what has no time of its own. Nobody reads these; they only must not change from build to
// build.
constexpr const char* kFixedTime = "-T315532800";  // 1980-01-01
constexpr const char* kFarFuture = "4102444800";   // 2100-01-01
constexpr const char* kFixedUuid = "-U74686d62-6c65-4000-8000-65726f667331";

}  // namespace

Result<void> make_erofs(const std::filesystem::path& directory, const std::filesystem::path& file,
                        Compression compression, const std::vector<std::string>& exclude,
                        const Stamp& stamp) {
  Command command{.argv = {"mkfs.erofs", "-x-1", kFixedUuid}, .env = {{"LC_ALL", "C"}}};
  // mkfs.erofs keeps times that are older than this variable says, and makes nothing of the clock.
  if (stamp.keeps_times) {
    command.env.emplace_back("SOURCE_DATE_EPOCH", kFarFuture);
  } else {
    command.argv.emplace_back(kFixedTime);
    command.unset = {"SOURCE_DATE_EPOCH"};
  }
  if (!stamp.keeps_owners) {
    command.argv.push_back("--force-uid=" + std::to_string(stamp.uid));
    command.argv.push_back("--force-gid=" + std::to_string(stamp.gid));
  }
  if (compression == Compression::kLz4) command.argv.emplace_back("-zlz4");
  for (const std::string& path : exclude) command.argv.push_back("--exclude-path=" + path);
  command.argv.push_back(file.string());
  command.argv.push_back(directory.string());
  const Result<std::string> made = run_checked(command, "make the erofs image");
  if (!made) return std::unexpected(made.error());
  return check_erofs_file(file);
}

}  // namespace thimble::image
