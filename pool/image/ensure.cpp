// Those who wait for a detached builder (tools/image/builder.cpp).
//
// Whoever holds the lock of a name builds it and writes records to the name's log (build_log.h).
// The last one of a failed build is its error. The lock ends with its process, however that ends,
// so a waiter needs nothing else to know that it is over.
#include "pool/image/ensure.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "devices/base/detached_program.h"
#include "pool/image/build_log.h"
#include "pool/image/erofs_check.h"
#include "pool/image/files.h"
#include "pool/image/freshness.h"
#include "pool/image/request_key.h"
#include "pool/image/request_words.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::milliseconds kPollInterval{20};
// A builder that was killed is replaced this often.
constexpr int kAttempts = 3;

// Bytes of a request, and of what it hands on.
Result<Fd> words_for_builder(const Request& request) {
  Fd file(::memfd_create("request", MFD_CLOEXEC));
  if (!file) return fail_errno("make a place for the request of an image");
  const Result<void> written = write_descriptor(file.get(), request_to_words(request), "request");
  if (!written) return std::unexpected(written.error());
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno("go back in the request");
  return file;
}

// Starts the builder, which takes the lock over.
Result<void> start_builder(const Store& store, const Request& request, const std::string& key,
                           const BuilderProgram& program, FileLock lock) {
  const Result<Fd> log = store.make_log(request.name);
  if (!log) return std::unexpected(log.error());
  const Result<Fd> words = words_for_builder(request);
  if (!words) return std::unexpected(words.error());
  DetachedProgram builder{.file = program.file,
                          .arguments = program.arguments,
                          .environment = environment_of_this_process(),
                          .error_output = log->get(),
                          .passed = {words->get(), lock.fd()},
                          .in_root = true};
  builder.arguments.push_back(store.cache().string());
  builder.arguments.push_back(key);
  if (Result<void> started = start_detached(builder); !started) return started;
  lock.leave();
  return {};
}

// Follows a log file from its start and remembers the error.
class LogFollower {
 public:
  LogFollower(const Store& store, std::string name, const Progress& progress)
      : store_(store), name_(std::move(name)), progress_(progress) {}

  void read_on() {
    if (!file_) file_ = store_.open_log(name_).value_or(Fd());
    if (!file_) return;
    char buffer[4096];
    for (;;) {
      const ssize_t count = ::read(file_.get(), buffer, sizeof buffer);
      if (count <= 0) break;
      pending_.append(buffer, static_cast<std::size_t>(count));
    }
    for (std::size_t end; (end = pending_.find('\n')) != std::string::npos;) {
      take_line(pending_.substr(0, end));
      pending_.erase(0, end + 1);
    }
  }

  const std::string& error() const { return error_; }

 private:
  void take_line(const std::string& line) {
    BuildRecord record = parse_record(line);
    if (record.kind == BuildRecord::Kind::kError) {
      error_ = std::move(record.text);
    } else {
      progress_(record.text);
    }
  }

  const Store& store_;
  std::string name_;
  const Progress& progress_;
  Fd file_;
  std::string pending_;
  std::string error_;
};

// Waits until nobody holds the lock. The error is the builder's, or empty when it just died.
Result<void> wait_for_builder(const Store& store, const std::string& name,
                              const Progress& progress) {
  LogFollower log(store, name, progress);
  for (;;) {
    // Before the lock: what the builder wrote before letting go is then surely read below.
    log.read_on();
    Result<std::optional<FileLock>> lock = store.lock(name);
    if (!lock) return std::unexpected(lock.error());
    if (*lock) {
      log.read_on();
      return log.error().empty() ? Result<void>() : fail(log.error());
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

Result<Image> build_detached(const Store& store, const Request& request, const std::string& key,
                             const EnsureOptions& options) {
  const Progress& progress = options.progress;
  Refresh refresh = options.refresh;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Result<std::optional<FileLock>> lock = store.lock(request.name);
    if (!lock) return std::unexpected(lock.error());
    if (*lock) {
      // Somebody may have finished between the look and the lock.
      if (refresh == Refresh::kNo) {
        Result<std::optional<Image>> there = store.lookup(request.name, key);
        if (!there) return std::unexpected(there.error());
        if (*there) return std::move(**there);
      }
      const Result<void> started =
          start_builder(store, request, key, options.builder, std::move(**lock));
      if (!started) return std::unexpected(started.error());
    } else {
      progress("waiting for process " + std::to_string(store.lock_holder(request.name)) +
               ", which builds the same image");
    }
    refresh = Refresh::kNo;
    if (Result<void> done = wait_for_builder(store, request.name, progress); !done) {
      return std::unexpected(done.error());
    }
    Result<std::optional<Image>> built = store.lookup(request.name, key);
    if (!built) return std::unexpected(built.error());
    if (*built) return std::move(**built);
  }
  return fail("build image " + request.name + ": the building process was killed: try again, see " +
              store.log_path(request.name).string());
}

// For the next start: whoever asks has an image already. What comes of it is in the log.
void build_beside(const Store& store, const Request& request, const std::string& key,
                  const BuilderProgram& builder) {
  Result<std::optional<FileLock>> lock = store.lock(request.name);
  if (!lock || !*lock) return;
  note_try(store, request);
  const Result<void> started = start_builder(store, request, key, builder, std::move(**lock));
  if (!started) return;  // the next start tries again
}

Result<Image> open_bare_file(const fs::path& path) {
  if (Result<void> sound = check_erofs_file(path); !sound) return std::unexpected(sound.error());
  std::error_code code;
  return Image{.name = path.string(),
               .digest = {},
               .erofs = path,
               .size = fs::file_size(path, code),
               .default_command = {},
               .commands = {},
               .env = base_environment(),
               .workdir = "/"};
}

}  // namespace

Result<Image> ensure_image(const Store& store, const Request& request,
                           const EnsureOptions& options) {
  if (request.kind == Request::Kind::kFile) return open_bare_file(request.path);
  if (request.kind == Request::Kind::kNamed) return store.find(request.name);
  const Result<std::string> key = request_key(request);
  if (!key) return std::unexpected(key.error());
  if (options.refresh == Refresh::kNo) {
    Result<std::optional<Image>> there = store.lookup(request.name, *key);
    if (!there) return std::unexpected(there.error());
    if (*there) {
      if (is_older(store, request, kResolveAfter)) {
        build_beside(store, request, *key, options.builder);
      }
      return std::move(**there);
    }
    Result<std::optional<Image>> with = store.lookup(request.name, *key + kWithScripts);
    if (!with) return std::unexpected(with.error());
    if (*with) return std::move(**with);
  }
  if (request.kind != Request::Kind::kHostPath) {
    options.progress("building image " + request.name);
  }
  return build_detached(store, request, *key, options);
}

}  // namespace thimble::image
