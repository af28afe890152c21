// See install_scripts.h. The VM (install_driver.h) is that of `thimble run`: nothing of the host's
// goes in, stdout is the archive, stderr what the scripts say.
#include "tools/cli/install_scripts.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "devices/fd.h"
#include "devices/text.h"
#include "pool/image/ensure.h"
#include "pool/image/files.h"
#include "tools/cli/install_driver.h"
#include "tools/cli/own_child.h"
#include "tools/cli/say.h"
#include "tools/image/guest_root.h"
#include "tools/image/jail/limits.h"

namespace thimble::cli {

namespace {

using nlohmann::json;

constexpr size_t kMaxLines = 400;
constexpr size_t kLongestLine = 2000;

// What the scripts write, line by line.
class Lines {
 public:
  void take(std::string_view bytes) {
    for (const char c : bytes) {
      if (c != '\n' && line_.size() < kLongestLine) {
        line_ += c;
        continue;
      }
      end();
      if (c != '\n') line_ += c;
    }
  }
  void end() {
    if (!line_.empty() && ++count_ <= kMaxLines) say("install scripts: " + line_);
    if (count_ == kMaxLines && !line_.empty()) say("install scripts: … the rest is not shown");
    line_.clear();
  }

 private:
  std::string line_;
  size_t count_ = 0;
};

Result<void> keep(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("keep what the install scripts made");
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

// Both streams to their end; an error stops the VM.
Result<void> drain(OwnChild& vm, int file, uint64_t limit) {
  Lines lines;
  uint64_t total = 0;
  std::vector<char> buffer(size_t{256} << 10);
  while (vm.output || vm.errors) {
    pollfd fds[2] = {{vm.output.get(), POLLIN, 0}, {vm.errors.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    for (Fd* from : {&vm.output, &vm.errors}) {
      if (fds[from == &vm.output ? 0 : 1].revents == 0) continue;
      const ssize_t count = ::read(from->get(), buffer.data(), buffer.size());
      if (count <= 0) {
        from->reset();
        continue;
      }
      const std::string_view bytes(buffer.data(), static_cast<size_t>(count));
      if (from == &vm.errors) {
        lines.take(bytes);
        continue;
      }
      total += bytes.size();
      if (total > limit) {
        return fail("the install scripts made more than THIMBLE_BUILD_MIB allows");
      }
      if (Result<void> kept = keep(file, bytes); !kept) return kept;
    }
  }
  lines.end();
  return {};
}

Result<void> run_in_vm(const Arguments& arguments, int file, uint64_t limit) {
  auto vm = start_own_child({.arguments = arguments, .in_root = true, .signal_at_end = SIGTERM});
  if (!vm) return std::unexpected(vm.error());
  vm->input.reset();
  Result<void> done = drain(*vm, file, limit);
  if (!done) ::kill(vm->pid, SIGTERM);
  int status = 0;
  while (::waitpid(vm->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (done && WIFEXITED(status) && WEXITSTATUS(status) == kNoScriptEndedWell) {
    return fail(
        "run the install scripts: none ended well in a microVM, which has no network: the image "
        "stays without them");
  }
  if (done && status != 0) {
    return fail(
        "run the install scripts in a microVM: it did not come to its end: the image stays "
        "without them");
  }
  return done;
}

// Makes the archive in `folder` and the image of it.
Result<image::Image> build_with_scripts(const image::Store& store, image::Request request,
                                        const image::Image& image, const json& inputs,
                                        const std::filesystem::path& folder) {
  const Result<image::BuildLimits> limits = image::build_limits();
  if (!limits) return std::unexpected(limits.error());
  const auto manifest = store.manifest(image);
  if (!manifest) return std::unexpected(manifest.error());
  image::GuestRoot guest{.archive = folder / "root.tar",
                         .manifest = image::manifest_to_json(*manifest),
                         .inputs = image::to_text(inputs)};
  const Fd file(
      ::open(guest.archive.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno("make " + guest.archive.string());
  const json& scripts = inputs.at("install_scripts");
  say(
      text("running the install scripts of %zu packages in a microVM, without network: what they "
           "would download is not had",
           scripts.size()));
  const Arguments arguments = {"run",
                               "--cold",
                               "--no-daemon",
                               "--memory",
                               "1G",
                               "--timeout",
                               std::to_string(limits->time.count()) + "s",
                               "--image",
                               image.digest,
                               "--",
                               "node",
                               "-e",
                               install_driver(scripts)};
  if (Result<void> ran = run_in_vm(arguments, file.get(), limits->bytes); !ran) {
    return std::unexpected(ran.error());
  }
  request.guest_root = std::move(guest);
  return image::ensure_image(store, request, {.progress = say, .refresh = image::Refresh::kYes});
}

}  // namespace

Result<image::Image> run_install_scripts(const image::Store& store, image::Request request,
                                         const image::Image& image) {
  const Result<json> inputs = store.inputs(image);
  if (!inputs) return std::unexpected(inputs.error());
  const auto scripts = inputs->find("install_scripts");
  if (scripts == inputs->end() || !scripts->is_object() || scripts->empty()) {
    say(image.name + ": no install script is left to run");
    return image;
  }
  // As a build of its own: what it leaves when it is killed goes with the next.
  const std::string name = "scripts of " + request.name;
  const auto lock = store.lock(name);
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) {
    return fail(text("process %d runs the install scripts of %s just now: wait for it",
                     store.lock_holder(name), request.name.c_str()));
  }
  const auto folder = store.make_build_directory(name);
  if (!folder) return std::unexpected(folder.error());
  auto built = build_with_scripts(store, std::move(request), image, *inputs, *folder);
  image::remove_tree(*folder);
  return built;
}

}  // namespace thimble::cli
