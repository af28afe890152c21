// posix_spawn with captured output.
#include "tools/image/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "devices/base/argument_pointers.h"
#include "devices/base/pipe.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace {

constexpr std::size_t kKeepOut = 16 << 20;
constexpr std::size_t kKeepErr = 256 << 10;

std::vector<std::string> merged_environment(const Command& command) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const std::string& name : command.unset) variables.erase(name);
  for (const auto& [name, value] : command.env) variables[name] = value;
  std::vector<std::string> entries;
  entries.reserve(variables.size());
  for (const auto& [name, value] : variables) entries.emplace_back(name).append("=").append(value);
  return entries;
}

// Reads both pipes until both writers are gone.
void drain(Fd& out, Fd& err, Output& output) {
  char buffer[16384];
  auto take = [&buffer](Fd& from, std::string& to, std::size_t keep) {
    const ssize_t count = ::read(from.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) return;
    if (count <= 0) return from.reset();
    to.append(buffer, static_cast<std::size_t>(count));
    if (to.size() > 2 * keep) to.erase(0, to.size() - keep);
  };
  while (out || err) {
    pollfd fds[2] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[0].revents != 0) take(out, output.out, kKeepOut);
    if (fds[1].revents != 0) take(err, output.err, kKeepErr);
  }
}

Result<pid_t> spawn(const Command& command, const Pipe& out, const Pipe& err) {
  std::vector<std::string> arguments = command.argv;
  std::vector<std::string> variables = merged_environment(command);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.write.get(), 2);
  if (!command.cwd.empty()) {
    posix_spawn_file_actions_addchdir_np(&actions, command.cwd.c_str());
  }
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, arguments[0].c_str(), &actions, nullptr,
                     argument_pointers(arguments).data(), argument_pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return fail(arguments[0] + ": not installed or not in PATH");
  if (error != 0) return fail_errno("start " + arguments[0], error);
  return pid;
}

}  // namespace

Result<Output> run_process(const Command& command) {
  Result<Pipe> out = make_pipe();
  if (!out) return std::unexpected(out.error());
  Result<Pipe> err = make_pipe();
  if (!err) return std::unexpected(err.error());
  const Result<pid_t> pid = spawn(command, *out, *err);
  if (!pid) return std::unexpected(pid.error());
  out->write.reset();
  err->write.reset();
  Output output;
  drain(out->read, err->read, output);
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno("wait for " + command.argv[0]);
  }
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

Result<std::string> run_checked(const Command& command, std::string_view what) {
  Result<Output> output = run_process(command);
  if (!output) return fail_in(what, output);
  if (output->status == 0) return std::move(output->out);
  std::string reason = last_lines(output->err.empty() ? output->out : output->err, 4);
  if (reason.empty()) reason = "no message";
  return fail(std::string(what) + ": " + command.argv[0] + " ended with status " +
              std::to_string(output->status) + ": " + reason);
}

std::string last_lines(std::string_view text, std::size_t count) {
  std::vector<std::string_view> lines;
  while (!text.empty() && lines.size() < count) {
    const std::size_t cut = text.rfind('\n');
    const std::string_view line = cut == std::string_view::npos ? text : text.substr(cut + 1);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back(line);
    text = cut == std::string_view::npos ? std::string_view() : text.substr(0, cut);
  }
  std::string joined;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (!joined.empty()) joined += "; ";
    joined += *line;
  }
  return joined;
}

std::filesystem::path find_program(std::string_view name) {
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "/usr/bin:/bin" : variable;
  while (!rest.empty()) {
    const std::size_t cut = std::min(rest.find(':'), rest.size());
    const std::filesystem::path candidate = std::filesystem::path(rest.substr(0, cut)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(cut + 1, rest.size()));
  }
  return {};
}

}  // namespace thimble::image
