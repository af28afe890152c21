// See builder.h.
#include "tools/image/builder.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "pool/image/build_log.h"
#include "pool/image/ensure.h"
#include "pool/image/files.h"
#include "pool/image/request_words.h"
#include "tools/image/build.h"

namespace thimble::image {
namespace {

constexpr std::uint64_t kLongestRequest = 64 << 20;

void write_record(BuildRecord::Kind kind, std::string_view text) {
  const std::string line = to_line(kind, text);
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t count = ::write(STDERR_FILENO, line.data() + at, line.size() - at);
    if (count <= 0) return;
    at += static_cast<std::size_t>(count);
  }
}

void write_progress(std::string_view text) { write_record(BuildRecord::Kind::kProgress, text); }

// What its tools say to nobody in particular belongs into the log, too.
void settle() {
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::signal(SIGPIPE, SIG_IGN);
  // A full file-size limit is an error of write(2) like a full disk, not a death.
  ::signal(SIGXFSZ, SIG_IGN);
  ::umask(022);
}

Result<Request> read_request() {
  const Fd words(kBuilderRequest);
  const Result<std::string> text = read_descriptor(words.get(), kLongestRequest, "the request");
  if (!text) return std::unexpected(text.error());
  return request_from_words(*text);
}

int failed(const Error& error) {
  write_record(BuildRecord::Kind::kError, error.message);
  return EXIT_FAILURE;
}

int build(const std::filesystem::path& cache, const std::string& key) {
  Fd locked(kBuilderLock);
  const Result<Request> request = read_request();
  if (!request) return failed(request.error());
  const Result<Store> store = Store::open_at(cache);
  if (!store) return failed(store.error());
  // Let go last: who then has it has read all of the log.
  const FileLock lock = store->adopt_lock(request->name, std::move(locked));
  const Result<Image> image = build_image(*store, *request, key, write_progress);
  if (!image) return failed(image.error());
  store->remove_log(request->name);  // waiters that follow it have it open
  return EXIT_SUCCESS;
}

}  // namespace

int builder_main(std::span<const std::string> arguments) {
  if (arguments.size() != 2) return EXIT_FAILURE;
  settle();
  return build(arguments[0], arguments[1]);
}

}  // namespace thimble::image
