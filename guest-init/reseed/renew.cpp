// renew.so: makes a runtime in a clone draw new random numbers before its program can ask for any.
//
// A clone continues with the template's memory, and with it OpenSSL's random number generator,
// which would hand out the same bytes in every clone. Init writes a new word into a file in memory
// (the generation) before the server may go on. This library is preloaded into node: it stands
// between node's event loop and the calls in which a frozen thread waits (epoll_wait, poll, read).
// When such a call returns and the generation is a new one, OpenSSL is reseeded from the kernel,
// and only then does the caller go on. It costs one comparison for each call.
//
// The same file is a node add-on (renew.cjs loads it): it shows the generation to JavaScript, whose
// own caches of random numbers are reseeded there.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

// Node's stable C interface, as far as it is used (nodejs.org/api/n-api.html), and OpenSSL's.
// Weak: in a program without them the library does nothing.
extern "C" {
typedef struct napi_env_opaque* napi_env;
typedef struct napi_value_opaque* napi_value;
typedef void (*napi_finalize)(napi_env, void* data, void* hint);
[[gnu::weak]] int napi_create_external_arraybuffer(napi_env, void* data, size_t size, napi_finalize,
                                                   void* hint, napi_value* result);
[[gnu::weak]] int napi_set_named_property(napi_env, napi_value object, const char* name,
                                          napi_value value);
}

namespace {

constexpr const char* kGenerationFile = "/run/thimble/generation";
constexpr size_t kPage = 4096;

using Word = std::atomic<uint64_t>;
static_assert(Word::is_always_lock_free);

// Null outside of a guest, or before init has written the file: nothing is reseeded then.
const Word* generation = nullptr;
Word seen{0};

void map_generation() {
  const int fd = open(kGenerationFile, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_size >= static_cast<off_t>(kPage)) {
    void* const page = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) generation = static_cast<const Word*>(page);
  }
  close(fd);
  if (generation) seen = generation->load();
}

// Seen by init in this process' maps (guest-init/runtime.h), which else does not take it for a
// runtime that is reseeded: this library alone is no sign, every program that node starts has it.
// The page lies behind the file's end and is never touched.
void show_reseeding() {
  if (!dlsym(RTLD_DEFAULT, "RAND_poll")) return;
  const int fd = open(kGenerationFile, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, kPage) == MAP_FAILED) {
    // Not seen, the server is frozen before exec.
  }
  close(fd);
}

[[gnu::constructor]] void start() { map_generation(); }

// RAND_poll() reseeds OpenSSL's primary generator; those of the threads notice and follow.
void reseed_openssl() {
  using Poll = int (*)();
  if (const auto poll = reinterpret_cast<Poll>(dlsym(RTLD_DEFAULT, "RAND_poll"))) poll();
}

void reseed_if_cloned() {
  if (!generation) return;
  const uint64_t now = generation->load(std::memory_order_acquire);
  uint64_t before = seen.load(std::memory_order_relaxed);
  if (now == before) return;
  if (seen.compare_exchange_strong(before, now)) reseed_openssl();
}

// The C library's own function behind ours, looked up once.
template <class Function>
Function next(std::atomic<void*>& cached, const char* name) {
  void* found = cached.load(std::memory_order_relaxed);
  if (!found) {
    found = dlsym(RTLD_NEXT, name);
    cached.store(found, std::memory_order_relaxed);
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int epoll_pwait(int epoll, epoll_event* events, int count,
                                               int timeout, const sigset_t* mask) {
  static std::atomic<void*> real;
  using Function = int (*)(int, epoll_event*, int, int, const sigset_t*);
  const int result = next<Function>(real, "epoll_pwait")(epoll, events, count, timeout, mask);
  reseed_if_cloned();
  return result;
}

[[gnu::visibility("default")]] int epoll_wait(int epoll, epoll_event* events, int count,
                                              int timeout) {
  static std::atomic<void*> real;
  using Function = int (*)(int, epoll_event*, int, int);
  const int result = next<Function>(real, "epoll_wait")(epoll, events, count, timeout);
  reseed_if_cloned();
  return result;
}

[[gnu::visibility("default")]] int poll(pollfd* entries, nfds_t count, int timeout) {
  static std::atomic<void*> real;
  using Function = int (*)(pollfd*, nfds_t, int);
  const int result = next<Function>(real, "poll")(entries, count, timeout);
  reseed_if_cloned();
  return result;
}

[[gnu::visibility("default")]] ssize_t read(int fd, void* buffer, size_t size) {
  static std::atomic<void*> real;
  using Function = ssize_t (*)(int, void*, size_t);
  const ssize_t result = next<Function>(real, "read")(fd, buffer, size);
  reseed_if_cloned();
  return result;
}

// exports.generation: an ArrayBuffer over the page, absent outside of a guest.
[[gnu::visibility("default")]] napi_value napi_register_module_v1(napi_env env,
                                                                  napi_value exports) {
  if (!generation || !napi_create_external_arraybuffer) return exports;
  napi_value buffer = nullptr;
  void* const page = const_cast<Word*>(generation);
  if (napi_create_external_arraybuffer(env, page, sizeof(Word), nullptr, nullptr, &buffer) == 0) {
    napi_set_named_property(env, exports, "generation", buffer);
    static std::atomic_flag shown;  // each of node's threads loads the add-on
    if (!shown.test_and_set()) show_reseeding();
  }
  return exports;
}

}  // extern "C"
