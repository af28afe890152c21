// One build from request to published image.
#include "tools/image/build.h"

#include <sys/statvfs.h>

#include <chrono>

#include "pool/image/files.h"
#include "pool/image/host_path.h"
#include "tools/image/jailed_build.h"
#include "tools/image/worker.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kDiskFull = 1 << 20;  // less than this is as good as nothing

// What goes in of the user's own folder, and what not.
Result<Survey> survey_source(const Request& request, const Progress& progress) {
  if (!is_from_host(request)) return Survey();
  Result<Survey> survey = survey_host_path(request);
  if (!survey) return survey;
  if (survey->unreadable > 0) {
    progress("note: " + std::to_string(survey->unreadable) + " files of " + request.path.string() +
             " may not be read: left out");
  }
  if (const auto out = links_that_lead_out(request, *survey); !out.empty()) {
    progress("note: " + std::to_string(out.size()) + " links lead out of " + request.path.string() +
             ", the first is " + out.front() +
             ": what they lead to goes in only when the command names it");
  }
  if (survey->files == 0) return survey;
  progress("copying " + request.path.string() + ": " + std::to_string(survey->files) + " files, " +
           human_size(survey->bytes));
  return survey;
}

Result<Image> build_in(const Store& store, const Request& request, const std::string& key,
                       const JailedBuildOptions& options) {
  const Result<Survey> survey = survey_source(request, options.progress);
  if (!survey) return std::unexpected(survey.error());
  const fs::path staged = options.work / "image";
  Result<Report> report = build_jailed(options, request, *survey, staged);
  if (!report) return std::unexpected(report.error());
  return store.publish(staged, std::move(report->manifest), report->inputs, request.name, key);
}

// Tools say "no space" in many ways, or in none: ask the file system.
bool is_disk_full(const std::string& message, const fs::path& directory) {
  for (const char* sign : {"No space left", "ENOSPC", "Disk quota exceeded", "File too large"}) {
    if (message.find(sign) != std::string::npos) return true;
  }
  struct statvfs status{};
  return ::statvfs(directory.c_str(), &status) == 0 &&
         status.f_bavail * status.f_frsize < kDiskFull;
}

Error explain(const Error& error, const fs::path& directory) {
  if (!is_disk_full(error.message, directory)) return error;
  return Error{"disk full: " + error.message + ": make room for " + directory.string() +
               " or set THIMBLE_CACHE to a directory on another disk"};
}

}  // namespace

Result<Image> build_image(const Store& store, const Request& request, const std::string& key,
                          const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  const Result<BuildLimits> limits = build_limits();
  if (!limits) return std::unexpected(limits.error());
  store.sweep();
  const Result<fs::path> work = store.make_build_directory(request.name);
  if (!work) return std::unexpected(explain(work.error(), store.root()));
  const JailedBuildOptions options{
      .cache = store.cache(), .work = *work, .limits = *limits, .progress = progress};
  Result<Image> image = build_in(store, request, key, options);
  if (!image) image = std::unexpected(explain(image.error(), store.root()));
  remove_tree(*work);
  if (image) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f s", took.count());
    progress("image " + request.name + " ready: " + human_size(image->size) + " in " + seconds);
  }
  return image;
}

}  // namespace thimble::image
