// One build from request to published image.
#include "tools/image/build.h"

#include <sys/statvfs.h>

#include <chrono>

#include "tools/image/erofs.h"
#include "tools/image/files.h"
#include "tools/image/host_path.h"
#include "tools/image/recipes.h"
#include "tools/image/renewal.h"
#include "tools/image/rootfs.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kDiskFull = 1 << 20;  // less than this is as good as nothing

// A directory as the image: its files are left where they are.
Result<Manifest> describe_tree(Building& building, const Request& request, const Survey& survey) {
  if (survey.unreadable > 0) {
    building.progress("note: " + std::to_string(survey.unreadable) + " files of " +
                      request.path.string() + " may not be read: left out");
  }
  building.progress("copying " + request.path.string() + ": " + std::to_string(survey.files) +
                    " files, " + human_size(survey.bytes));
  Manifest manifest;
  const bool whole = request.kind == Request::Kind::kDirectory;
  manifest.name = whole ? "directory" : "files";
  manifest.command = request.command;
  if (whole) manifest.env = base_environment();
  return manifest;
}

Result<Manifest> fill_root(Building& building, const Request& request) {
  if (request.kind == Request::Kind::kNpm) return make_npm(building, request.npm, request.node);
  if (request.name == "busybox") return make_busybox(building);
  if (request.name == "python") return make_python(building);
  return make_node(building, request.node);
}

// Single files are packed from a copy: naming all their neighbours as left out could be long.
Result<void> copy_single_files(const Request& request, const fs::path& to) {
  if (Result<void> made = make_directories(to); !made) return made;
  for (const std::string& name : request.only) {
    if (Result<void> copied = copy_regular(request.path / name, to / name); !copied) return copied;
  }
  return {};
}

Result<Image> build_in(const Store& store, const Request& request, const std::string& key,
                       Building& building) {
  const bool from_host =
      request.kind == Request::Kind::kDirectory || request.kind == Request::Kind::kHostPath;
  Survey survey;
  fs::path source = building.root;
  if (from_host) {
    Result<Survey> found = survey_host_path(request);
    if (!found) return std::unexpected(found.error());
    survey = std::move(*found);
    source = request.path;
    if (!request.only.empty()) {
      source = building.root;
      survey.left_out.clear();
      if (Result<void> done = copy_single_files(request, source); !done) {
        return std::unexpected(done.error());
      }
    }
  } else if (Result<void> made = make_directories(building.root); !made) {
    return std::unexpected(made.error());
  }
  Result<Manifest> manifest =
      from_host ? describe_tree(building, request, survey) : fill_root(building, request);
  if (!manifest) return std::unexpected(manifest.error());

  const fs::path staged = building.work / "image";
  if (Result<void> made = make_directories(staged); !made) return std::unexpected(made.error());
  if (!from_host) building.progress("writing the erofs image");
  // Files of the user's own are packed at every change: speed counts more than size.
  const Compression compression =
      request.kind == Request::Kind::kHostPath ? Compression::kNone : Compression::kLz4;
  const Result<void> made =
      make_erofs(source, staged / "rootfs.erofs", compression, survey.left_out);
  if (!made) return std::unexpected(made.error());
  building.inputs["erofs"] = compression == Compression::kLz4 ? "lz4" : "plain";
  building.inputs["builder"] = kBuilderVersion;
  return store.publish(staged, std::move(*manifest), building.inputs, request.name, key);
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

Result<std::string> request_key(const Request& request) {
  const std::string builder = "builder " + std::to_string(kBuilderVersion);
  if (request.kind == Request::Kind::kDirectory || request.kind == Request::Kind::kHostPath) {
    const Result<Survey> survey = survey_host_path(request);
    if (!survey) return std::unexpected(survey.error());
    std::string key = builder + " " + survey->fingerprint;
    for (const std::string& word : request.command) key += " " + word;
    return key;
  }
  const std::string node = request.node == NodeSource::kSystem ? " system node" : "";
  const bool renews = request.kind == Request::Kind::kNpm || request.name != "busybox";
  return builder + node + (renews ? " renewal " + renewal_digest() : "");
}

Result<Image> build_image(const Store& store, const Request& request, const std::string& key,
                          const Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  store.sweep();
  const Result<fs::path> work = store.make_build_directory(request.name);
  if (!work) return std::unexpected(explain(work.error(), store.root()));
  Building building;
  building.cache = store.cache();
  building.work = *work;
  building.root = *work / "root";
  building.progress = progress;
  Result<Image> image = build_in(store, request, key, building);
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
