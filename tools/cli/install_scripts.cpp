// See install_scripts.h. The VM is that of `thimble run`: nothing of the host's goes in, stdout is
// the archive, stderr what the scripts say.
#include "tools/cli/install_scripts.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "devices/fd.h"
#include "devices/text.h"
#include "tools/cli/options.h"
#include "tools/cli/say.h"
#include "tools/image/ensure.h"
#include "tools/image/files.h"
#include "tools/image/guest_root.h"
#include "tools/image/jail/limits.h"
#include "tools/image/npm_commands.h"

namespace thimble::cli {

namespace {

using nlohmann::json;

constexpr int kNoneEndedWell = 3;  // the driver's status then
constexpr size_t kMostLines = 400;
constexpr size_t kLongestLine = 2000;

// What runs in the guest, after `places`, `app` and `outcome`. As npm does it: dependencies before
// those that need them, three scripts for each package, with the commands of the packages in PATH.
constexpr const char* kDriver = R"js(
const {spawnSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const bin = '/tmp/thimble-bin';
const read = (dir) => {
  try { return JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8')); } catch { return {}; }
};
const link = (dir) => {
  const {name = '', bin: bins = {}} = read(dir);
  for (const [command, file] of Object.entries(typeof bins === 'string' ? {[name]: bins} : bins)) {
    try {
      fs.chmodSync(path.join(dir, file), 0o755);
      fs.symlinkSync(path.join(dir, file), path.join(bin, path.basename(command)));
    } catch {}
  }
};
const walk = (modules) => {
  for (const entry of fs.readdirSync(modules, {withFileTypes: true})) {
    const dir = path.join(modules, entry.name);
    if (!entry.isDirectory()) continue;
    if (entry.name[0] === '@') { walk(dir); continue; }
    link(dir);
    if (fs.existsSync(path.join(dir, 'node_modules'))) walk(path.join(dir, 'node_modules'));
  }
};
const ended = {};
const run = (place) => {
  const dir = path.join(app, place);
  const {scripts = {}, name, version} = read(dir);
  if (!scripts.install && !scripts.preinstall && fs.existsSync(path.join(dir, 'binding.gyp')))
    scripts.install = 'node-gyp rebuild';
  ended[place] = 0;
  for (const event of ['preinstall', 'install', 'postinstall']) {
    if (!scripts[event] || ended[place] !== 0) continue;
    console.error(`${name}: ${event}: ${scripts[event]}`);
    const {status, signal} = spawnSync('/bin/sh', ['-c', scripts[event]], {cwd: dir, stdio: ['ignore', 2, 2],
      env: {...process.env, PATH: `${bin}:${process.env.PATH}`, INIT_CWD: app, npm_config_user_agent: 'npm',
        npm_lifecycle_event: event, npm_lifecycle_script: scripts[event], npm_package_name: name,
        npm_package_version: version, npm_package_json: path.join(dir, 'package.json'),
        npm_node_execpath: process.execPath, NODE: process.execPath}});
    ended[place] = status ?? signal;
    if (status !== 0) console.error(`${name}: ${event} ended with ${status ?? signal}`);
  }
};
const seen = new Set();
const visit = (place) => {
  if (seen.has(place)) return;
  seen.add(place);
  const {dependencies = {}, optionalDependencies = {}} = read(path.join(app, place));
  for (const name of Object.keys({...dependencies, ...optionalDependencies})) {
    for (let above = place + '/'; above !== null;) {
      const found = `${above}node_modules/${name}`;
      if (fs.existsSync(path.join(app, found))) { visit(found); break; }
      const end = above.lastIndexOf('node_modules/');
      above = above === '' ? null : above.slice(0, Math.max(end, 0));
    }
  }
  if (places.includes(place)) run(place);
};
fs.mkdirSync(bin, {recursive: true});
walk(path.join(app, 'node_modules'));
places.forEach(visit);
if (!Object.values(ended).includes(0)) process.exit(3);
fs.writeFileSync('/' + outcome, JSON.stringify(ended));
const own = ['dev', 'proc', 'sys', 'run', 'tmp', 'mnt'];
const top = fs.readdirSync('/').filter((name) => !own.includes(name));
process.exitCode = spawnSync('tar', ['-c', '-f', '-', ...top], {cwd: '/', stdio: ['ignore', 1, 2]}).status ?? 1;
)js";

std::string driver_for(const json& scripts) {
  json places = json::array();
  for (const auto& [place, script] : scripts.items()) places.push_back(place);
  return "const places = " + places.dump(-1, ' ', true) + ";\nconst app = '" + image::kGuestApp +
         "', outcome = '" + image::kScriptOutcome + "';\n" + kDriver;
}

struct Streams {
  Fd out;
  Fd error;
  pid_t pid = -1;
};

// `thimble ARGUMENTS…`, which ends with this process.
Result<Streams> start(const Arguments& arguments) {
  std::string program = "thimble";
  Arguments copies(arguments);
  std::vector<char*> words = {program.data()};
  for (std::string& word : copies) words.push_back(word.data());
  words.push_back(nullptr);
  int out[2];
  int error[2];
  if (::pipe2(out, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  Streams streams;
  streams.out = Fd(out[0]);
  const Fd out_end(out[1]);
  if (::pipe2(error, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  streams.error = Fd(error[0]);
  const Fd error_end(error[1]);
  streams.pid = ::fork();
  if (streams.pid < 0) return fail_errno("start a VM for the install scripts");
  if (streams.pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int null = ::open("/dev/null", O_RDONLY);
    // Names of the host mean nothing to what runs there.
    if (null < 0 || ::chdir("/") != 0) ::_exit(1);
    ::dup2(null, STDIN_FILENO);
    ::dup2(out_end.get(), STDOUT_FILENO);
    ::dup2(error_end.get(), STDERR_FILENO);
    ::execv("/proc/self/exe", words.data());
    ::_exit(127);
  }
  return streams;
}

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
    if (!line_.empty() && ++count_ <= kMostLines) say("install scripts: " + line_);
    if (count_ == kMostLines && !line_.empty()) say("install scripts: … the rest is not shown");
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
Result<void> drain(Streams& streams, int file, uint64_t limit) {
  Lines lines;
  uint64_t total = 0;
  std::vector<char> buffer(size_t{256} << 10);
  while (streams.out || streams.error) {
    pollfd fds[2] = {{streams.out.get(), POLLIN, 0}, {streams.error.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    for (Fd* from : {&streams.out, &streams.error}) {
      if (fds[from == &streams.out ? 0 : 1].revents == 0) continue;
      const ssize_t count = ::read(from->get(), buffer.data(), buffer.size());
      if (count <= 0) {
        from->reset();
        continue;
      }
      const std::string_view bytes(buffer.data(), static_cast<size_t>(count));
      if (from == &streams.error) {
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
  Result<Streams> streams = start(arguments);
  if (!streams) return std::unexpected(streams.error());
  Result<void> done = drain(*streams, file, limit);
  if (!done) ::kill(streams->pid, SIGTERM);
  int status = 0;
  while (::waitpid(streams->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (done && WIFEXITED(status) && WEXITSTATUS(status) == kNoneEndedWell) {
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
                               driver_for(scripts)};
  if (Result<void> ran = run_in_vm(arguments, file.get(), limits->bytes); !ran) {
    return std::unexpected(ran.error());
  }
  request.guest_root = std::move(guest);
  return image::ensure_image(store, request, say, image::Refresh::kYes);
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
