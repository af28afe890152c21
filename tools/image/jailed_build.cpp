// See jailed_build.h.
#include "tools/image/jailed_build.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>

#include "pool/image/files.h"
#include "tools/image/beneath.h"
#include "tools/image/channel.h"
#include "tools/image/fetch.h"
#include "tools/image/fetcher.h"
#include "tools/image/jail/jail.h"
#include "tools/image/jail/system.h"
#include "tools/image/jail/usage.h"
#include "tools/image/pinned_tools.h"
#include "tools/image/worker.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLook{100};
// Looking at a large folder takes a while itself: it may use this part of the time.
constexpr int kShareOfLooking = 20;
constexpr int kMaxFetches = 16;
constexpr int kMaxLines = 1000;

class JailedBuild {
 public:
  JailedBuild(const JailedBuildOptions& options, const Request& request)
      : options_(options),
        request_(request),
        deadline_(steady_clock::now() + options.limits.time) {}

  Result<Report> run(const Survey& survey, const fs::path& staged) {
    Result<void> done = make_jailed_folder(build());
    if (done && !is_from_host(request_)) done = open_pinned();
    if (done && request_.guest_root) done = take_guest_root(request_.guest_root->archive);
    if (done) done = work(survey);
    if (!done) return std::unexpected(done.error());
    return take(staged);
  }

 private:
  fs::path build() const { return options_.work / "build"; }
  // Tools of ours are fetched where nothing of a package has ever been.
  fs::path tools() const { return options_.work / "tools"; }

  Result<void> open_pinned() {
    Result<PinnedTools> opened = PinnedTools::open(options_.cache);
    if (!opened) return std::unexpected(opened.error());
    pinned_.emplace(std::move(*opened));
    return {};
  }

  // A folder of the jail's user.
  Result<void> make_jailed_folder(const fs::path& folder) const {
    if (Result<void> made = make_directories(folder); !made) return made;
    if (is_from_host(request_)) return {};  // that jail is root's where we are root
    if (::chown(folder.c_str(), jailed_uid(), ::geteuid() == 0 ? jailed_uid() : -1U) != 0) {
      return fail_errno("give " + folder.string() + " to the jailed builder");
    }
    return {};
  }

  // Into the jail, whose user it then belongs to.
  Result<void> take_guest_root(const fs::path& archive) const {
    const fs::path place = build() / kGuestRoot;
    if (Result<void> moved = rename_path(archive, place); !moved) return moved;
    if (::chown(place.c_str(), jailed_uid(), ::geteuid() == 0 ? jailed_uid() : -1U) != 0) {
      return fail_errno("give " + place.string() + " to the jailed builder");
    }
    return {};
  }

  JailOptions worker_options() const {
    JailOptions options{.root = is_from_host(request_) ? packing_tree() : building_tree(),
                        .limits = options_.limits};
    options.root.mounts.push_back({.from = build(), .to = kBuildFolder, .writable = true});
    if (is_from_host(request_)) {
      options.user = JailUser::kReader;
      // Of links alone there is no source, and perhaps no such folder here.
      if (request_.links.empty() || !request_.only.empty()) {
        options.root.mounts.push_back({.from = request_.path, .to = kSourceFolder});
      }
    } else {
      options.root.mounts.push_back(
          {.from = pinned_->path(), .to = kCacheFolder / fs::path("npm/pinned")});
    }
    return options;
  }

  Result<void> work(const Survey& survey) {
    return run_jailed(worker_options(), [&](int channel) {
      return build_in_jail(request_, survey.left_out, channel);
    });
  }

  // A process in a jail, to its end. It says itself whether it went well.
  Result<void> run_jailed(const JailOptions& options, const std::function<int(int)>& body) {
    auto channel = make_channel();
    if (!channel) return std::unexpected(channel.error());
    const std::array kept{channel->second.get()};
    auto jailed = start_in_jail(options, kept, [&] { return body(kept[0]); });
    if (!jailed) return std::unexpected(jailed.error());
    channel->second.reset();
    Result<void> done = attend(channel->first.get());
    // With its first process a pid namespace ends as a whole.
    ::kill(jailed->pid, SIGKILL);
    while (::waitpid(jailed->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return done;
  }

  Result<void> attend(int channel) {
    for (;;) {
      if (Result<void> within = check_limits(); !within) return within;
      pollfd readable{channel, POLLIN, 0};
      if (::poll(&readable, 1, static_cast<int>(kLook.count())) <= 0) continue;
      const std::optional<Message> message = receive_message(channel);
      if (!message) {
        return fail(
            "build the image: a process of the build ended without a word: try again, with "
            "more memory if it was killed for want of it");
      }
      switch (message->kind) {
        case Message::kDone:
          return check_usage();
        case Message::kProgress:
          if (++lines_ <= kMaxLines) options_.progress(message->text);
          break;
        case Message::kFetch:
          if (Result<void> fetched = answer(message->text, channel); !fetched) return fetched;
          break;
        default:
          return fail(message->text);
      }
    }
  }

  Result<void> check_limits() {
    const auto now = steady_clock::now();
    if (now > deadline_) {
      return fail("build the image: not done within " +
                  std::to_string(options_.limits.time.count()) +
                  " s: try again, or set THIMBLE_BUILD_SECONDS to more");
    }
    if (now < next_look_) return {};
    Result<void> within = check_usage();
    next_look_ = steady_clock::now() + kShareOfLooking * (steady_clock::now() - now);
    return within;
  }

  Result<void> check_usage() const {
    for (const fs::path& folder : {build(), tools()}) {
      const Usage usage = measure(folder, options_.limits);
      if (!usage.exceeds(options_.limits)) continue;
      return fail("build the image: it unpacks to more than " +
                  std::to_string(options_.limits.files) + " files, " +
                  human_size(options_.limits.bytes) +
                  " or folders nested deeper than any package's: if that is meant, set "
                  "THIMBLE_BUILD_FILES and THIMBLE_BUILD_MIB to more");
    }
    return {};
  }

  // Says how the fetching went. The error here is a limit's, which ends the build.
  Result<void> answer(const std::string& message, int channel) {
    const Result<Fetch> fetch = fetch_from_message(message);
    Result<void> fetched = fetch ? run_fetch(*fetch) : Result<void>(std::unexpected(fetch.error()));
    if (Result<void> within = check_limits(); !within) return within;
    send_message(channel, fetched ? Message::kDone : Message::kError,
                 fetched ? std::string_view() : fetched.error().message);
    return {};
  }

  Result<void> run_fetch(const Fetch& fetch) {
    if (is_from_host(request_) || request_.guest_root || ++fetches_ > kMaxFetches) {
      return fail("fetch for the build: not now");
    }
    switch (fetch.kind) {
      case Fetch::Kind::kPackage:
        // Later than first there could be anything in the folder that npm is started in.
        if (fetches_ != 1 || request_.kind != Request::Kind::kNpm) {
          return fail("fetch for the build: not now");
        }
        return run_jailed(package_fetch(options_.limits, build()), [&](int channel) {
          return fetch_package_in_jail(request_.npm, channel);
        });
      case Fetch::Kind::kDebian:
        return run_jailed(debian_fetch(options_.limits, build()),
                          [&](int channel) { return fetch_debian_in_jail(fetch.names, channel); });
      case Fetch::Kind::kPinned:
        return fetch_pinned_tool(fetch.names[0]);
    }
    return {};
  }

  Result<void> fetch_pinned_tool(const std::string& name) {
    const PinnedPackage* package = find_pinned(name);
    if (package == nullptr) return fail("fetch for the build: no tool of ours: " + name);
    if (Result<void> made = make_jailed_folder(tools()); !made) return made;
    Result<void> done = run_jailed(package_fetch(options_.limits, tools()), [&](int channel) {
      return fetch_pinned_in_jail(*package, channel);
    });
    if (done) done = pinned_->keep(*package, tools(), options_.work);
    remove_tree(tools());
    return done;
  }

  // All processes of the jails are gone: what is there now stays as it is.
  Result<Report> take(const fs::path& staged) const {
    const Result<Folder> made = Folder::open(build());
    if (!made) return std::unexpected(made.error());
    const Result<std::string> text = made->read(kMadeReport, kLongestReport);
    if (!text) return std::unexpected(text.error());
    Result<Report> report = report_from_text(*text);
    if (!report) return report;
    const Result<Descriptor> image = made->open_regular(kMadeImage);
    if (!image) return std::unexpected(image.error());
    struct stat status{};
    if (::fstat(image->get(), &status) != 0 || status.st_nlink != 1) {
      return fail("take the built image: not a file of its own: try again");
    }
    if (::fchown(image->get(), ::geteuid(), ::getegid()) != 0 ||
        ::fchmod(image->get(), 0644) != 0) {
      return fail_errno("take the built image");
    }
    Result<void> moved = make_directories(staged);
    if (moved) moved = rename_path(build() / kMadeImage, staged / kMadeImage);
    if (!moved) return std::unexpected(moved.error());
    return report;
  }

  const JailedBuildOptions& options_;
  const Request& request_;
  steady_clock::time_point deadline_;
  steady_clock::time_point next_look_{};
  std::optional<PinnedTools> pinned_;  // not for a build from the host
  int fetches_ = 0;
  int lines_ = 0;
};

}  // namespace

Result<Report> build_jailed(const JailedBuildOptions& options, const Request& request,
                            const Survey& survey, const fs::path& staged) {
  return JailedBuild(options, request).run(survey, staged);
}

}  // namespace thimble::image
