// See worker.h.
#include "tools/image/worker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "pool/image/files.h"
#include "pool/image/image.h"
#include "tools/image/channel.h"
#include "tools/image/erofs.h"
#include "tools/image/guest_root.h"
#include "tools/image/recipes.h"
#include "tools/image/report.h"
#include "tools/image/rootfs.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

Result<Manifest> fill_root(Building& building, const Request& request) {
  if (Result<void> made = make_directories(building.root); !made) {
    return std::unexpected(made.error());
  }
  if (request.guest_root) return make_of_guest(building, request.npm.name, *request.guest_root);
  if (request.kind == Request::Kind::kNpm) return make_npm(building, request.npm, request.node);
  if (request.name == "busybox") return make_busybox(building);
  if (request.name == "python") return make_python(building);
  return make_node(building, request.node);
}

// A directory as the image: its files are left where they are.
Manifest describe_tree(const Request& request) {
  Manifest manifest;
  const bool whole = request.kind == Request::Kind::kDirectory;
  manifest.name = whole ? "directory" : "files";
  manifest.command = request.command;
  if (whole) manifest.env = base_environment();
  return manifest;
}

Result<void> copy_times(const fs::path& from, const fs::path& to) {
  struct stat status{};
  if (::stat(from.c_str(), &status) != 0) return fail_errno("read " + from.string());
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::utimensat(AT_FDCWD, to.c_str(), times, 0) != 0) return fail_errno("write " + to.string());
  return {};
}

// Single files are packed from a copy: naming all their neighbours as left out could be long.
Result<void> copy_single_files(const Request& request, const fs::path& to) {
  const fs::path source(kSourceFolder);
  Result<void> done = make_directories(to);
  for (const std::string& name : request.only) {
    if (done) done = copy_regular(source / name, to / name);
    if (done) done = copy_times(source / name, to / name);
  }
  for (const auto& [name, target] : request.links) {
    if (done) done = make_symlink(target, to / name);
  }
  for (const std::string& folder : request.folders) {
    if (done) done = make_directories(to / folder);
  }
  return done;
}

// What a user gives us keeps its times. The owners of a whole root file system mean something only
// where root unpacked it: to anybody else everything in it belongs. Host paths belong to whoever
// runs the command in the guest.
Stamp stamp_of(const Request& request) {
  switch (request.kind) {
    case Request::Kind::kDirectory:
      return {.keeps_times = true, .keeps_owners = ::geteuid() == 0};
    case Request::Kind::kHostPath:
      return {.keeps_times = true, .keeps_owners = false, .uid = request.uid, .gid = request.gid};
    default:
      return {};
  }
}

Result<Report> build(Building& building, const Request& request,
                     std::vector<std::string> left_out) {
  const bool from_host = is_from_host(request);
  fs::path source = from_host ? kSourceFolder : building.root;
  Result<Manifest> manifest = from_host ? describe_tree(request) : fill_root(building, request);
  if (!manifest) return std::unexpected(manifest.error());
  if (!request.only.empty() || !request.links.empty()) {
    source = building.root;
    left_out.clear();
    if (Result<void> done = copy_single_files(request, source); !done) {
      return std::unexpected(done.error());
    }
  }
  if (!from_host) building.progress("writing the erofs image");
  // Files of the user's own are packed at every change: speed counts more than size.
  const Compression compression =
      request.kind == Request::Kind::kHostPath ? Compression::kNone : Compression::kLz4;
  const Result<void> made =
      make_erofs(source, building.work / kMadeImage, compression, left_out, stamp_of(request));
  if (!made) return std::unexpected(made.error());
  building.inputs["erofs"] = compression == Compression::kLz4 ? "lz4" : "plain";
  building.inputs["builder"] = kBuilderVersion;
  return Report{.manifest = std::move(*manifest), .inputs = std::move(building.inputs)};
}

Result<void> ask_for(const Fetch& fetch, int channel) {
  send_message(channel, Message::kFetch, to_message(fetch));
  const std::optional<Message> answer = receive_message(channel);
  if (answer && answer->kind == Message::kDone) return {};
  return fail(answer ? answer->text : "fetch for the build: the builder is gone");
}

}  // namespace

bool is_from_host(const Request& request) {
  return request.kind == Request::Kind::kDirectory || request.kind == Request::Kind::kHostPath;
}

int build_in_jail(const Request& request, const std::vector<std::string>& left_out, int channel) {
  Building building;
  building.cache = kCacheFolder;
  building.work = kBuildFolder;
  building.root = building.work / "root";
  building.progress = [channel](std::string_view line) {
    send_message(channel, Message::kProgress, line);
  };
  building.fetch = [channel](const Fetch& fetch) { return ask_for(fetch, channel); };
  const Result<Report> report = build(building, request, left_out);
  Result<void> done = report ? write_file(building.work / kMadeReport, report_to_text(*report))
                             : Result<void>(std::unexpected(report.error()));
  send_message(channel, done ? Message::kDone : Message::kError,
               done ? std::string_view() : done.error().message);
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace thimble::image
