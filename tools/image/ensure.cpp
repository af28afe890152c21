// The detached builder and those who wait for it.
//
// Whoever holds the lock of a name builds it and writes records to the name's log (build_log.h).
// The last one of a failed build is its error. The lock ends with its process, however that ends,
// so a waiter needs nothing else to know that it is over.
#include "tools/image/ensure.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tools/image/build.h"
#include "tools/image/build_log.h"
#include "tools/image/erofs.h"
#include "tools/image/files.h"
#include "tools/image/freshness.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::milliseconds kPollInterval{20};
// A builder that was killed is replaced this often.
constexpr int kAttempts = 3;

void write_record(BuildRecord::Kind kind, std::string_view text) {
  const std::string line = to_line(kind, text);
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t count = ::write(STDERR_FILENO, line.data() + at, line.size() - at);
    if (count <= 0) return;
    at += static_cast<std::size_t>(count);
  }
}

void write_progress(std::string_view text) { write_record(BuildRecord::Kind::kProgress, text); }

// All but the standard ones and these two.
void close_others(int one, int other) {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  if (low > 3) ::close_range(3, low - 1, 0);
  if (high > low + 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0U, 0);
}

// Cuts every tie to the client: its terminal, its pipes (it may wait for their end), its signals.
bool detach(const Store& store, int log, int lock) {
  if (::setsid() < 0 || ::chdir("/") != 0) return false;
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) return false;
  if (::dup2(null, 0) < 0 || ::dup2(log, 1) < 0 || ::dup2(log, 2) < 0) return false;
  close_others(store.folder().fd(), lock);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  // A full file-size limit is an error of write(2) like a full disk, not a death.
  ::signal(SIGXFSZ, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  return true;
}

void build_and_log(const Store& store, const Request& request, const std::string& key) {
  const Result<Image> image = build_image(store, request, key, write_progress);
  if (!image) return write_record(BuildRecord::Kind::kError, image.error().message);
  // Waiters that follow it have it open.
  store.remove_log(request.name);
}

// Starts the builder, which takes the lock over.
Result<void> start_builder(const Store& store, const Request& request, const std::string& key,
                           FileLock lock) {
  const Result<Fd> log = store.make_log(request.name);
  if (!log) return std::unexpected(log.error());
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("start a process that builds the image");
  if (child == 0) {
    // Once more, so that the builder is nobody's child that would have to be waited for.
    const pid_t builder = ::fork();
    if (builder != 0) {
      lock.leave_to_child();
      ::_exit(builder < 0 ? 1 : 0);
    }
    if (detach(store, log->get(), lock.fd())) {
      lock.record_holder();
      build_and_log(store, request, key);
    }
    {
      const FileLock released = std::move(lock);
    }
    ::_exit(0);
  }
  lock.leave_to_child();
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
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
                             const Progress& progress, Refresh refresh) {
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
      if (Result<void> started = start_builder(store, request, key, std::move(**lock)); !started) {
        return std::unexpected(started.error());
      }
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
void build_beside(const Store& store, const Request& request, const std::string& key) {
  Result<std::optional<FileLock>> lock = store.lock(request.name);
  if (!lock || !*lock) return;
  note_try(store, request);
  const Result<void> started = start_builder(store, request, key, std::move(**lock));
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

Result<Image> ensure_image(const Store& store, const Request& request, const Progress& progress,
                           Refresh refresh) {
  if (request.kind == Request::Kind::kFile) return open_bare_file(request.path);
  if (request.kind == Request::Kind::kNamed) return store.find(request.name);
  const Result<std::string> key = request_key(request);
  if (!key) return std::unexpected(key.error());
  if (refresh == Refresh::kNo) {
    Result<std::optional<Image>> there = store.lookup(request.name, *key);
    if (!there) return std::unexpected(there.error());
    if (*there) {
      if (is_older(store, request, kResolveAfter)) build_beside(store, request, *key);
      return std::move(**there);
    }
    Result<std::optional<Image>> with = store.lookup(request.name, *key + kWithScripts);
    if (!with) return std::unexpected(with.error());
    if (*with) return std::move(**with);
  }
  if (request.kind != Request::Kind::kHostPath) progress("building image " + request.name);
  return build_detached(store, request, *key, progress, refresh);
}

}  // namespace thimble::image
