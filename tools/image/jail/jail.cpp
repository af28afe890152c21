// See jail.h. The file tree is put together with capabilities over the new user namespace, which
// the change of identity and capset() then take.
#include "tools/image/jail/jail.h"

#include <cap-ng.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "devices/text.h"
#include "pool/image/files.h"
#include "tools/image/jail/system.h"
#include "vmm/jail/descriptors.h"
#include "vmm/jail/identity.h"
#include "vmm/jail/namespaces.h"

namespace thimble::image {
namespace {

constexpr std::uint64_t kNamespaces =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
constexpr uid_t kNobody = 65534;
// What the child answers when its jail is on; anything else is a reason why not.
constexpr char kReady = '+';
constexpr std::size_t kLongestAnswer = 1000;

void die_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

bool parent_is_gone(int lifeline) {
  pollfd hung_up{lifeline, 0, 0};
  return ::poll(&hung_up, 1, 0) > 0;
}

Result<std::pair<Fd, Fd>> make_lifeline() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair for the jailed builder");
  }
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

struct IdRange {
  unsigned long first;
  unsigned long count;
};

// The ids that this process knows, as /proc/self/{u,g}id_map has them.
std::vector<IdRange> own_ids(const char* map) {
  std::vector<IdRange> ranges;
  std::istringstream lines(read_file(map, 1 << 16).value_or(""));
  unsigned long first = 0;
  unsigned long outside = 0;
  unsigned long count = 0;
  while (lines >> first >> outside >> count) ranges.push_back({first, count});
  return ranges;
}

// Root's jail has all ids of its parent, each as itself: with capabilities over the namespace the
// child can then reach what it is to mount, whoever owns it. An ordinary user may map one.
std::string child_map(const char* own_map, unsigned own, bool root) {
  if (!root) return text("%u %u 1", own, own);
  std::string lines;
  for (const IdRange& range : own_ids(own_map)) {
    lines += text("%lu %lu %lu\n", range.first, range.first, range.count);
  }
  return lines;
}

Result<void> write_maps(pid_t child, bool root) {
  const std::string folder = text("/proc/%d/", child);
  Result<void> done;
  if (!root) done = write_file(folder + "setgroups", "deny");
  if (done) {
    done = write_file(folder + "uid_map", child_map("/proc/self/uid_map", ::geteuid(), root));
  }
  if (done) {
    done = write_file(folder + "gid_map", child_map("/proc/self/gid_map", ::getegid(), root));
  }
  return done;
}

// fork() into namespaces and a cgroup (-1: none). -1 with errno.
pid_t fork_into(std::uint64_t namespaces, int cgroup) {
  clone_args args{};
  args.flags = namespaces;
  args.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(cgroup);
  }
  const long made = ::syscall(SYS_clone3, &args, sizeof args);
  if (made >= 0) return static_cast<pid_t>(made);
  if (cgroup >= 0) return fork_into(namespaces, -1);
  if (errno != ENOSYS) return -1;
  // Some containers' filters answer "no such call" to clone3.
  return static_cast<pid_t>(
      ::syscall(SYS_clone, namespaces | SIGCHLD, nullptr, nullptr, nullptr, 0));
}

// ---- the child

// What the process was called with: the user's environment, and options with values for servers.
void wipe_arguments_and_environment() {
  const Result<std::string> status = read_file("/proc/self/stat", 1 << 16);
  const std::size_t name_end = status ? status->rfind(')') : std::string::npos;
  if (name_end == std::string::npos) return;
  // Fields 48 to 51 of proc(5), counted from the one after the name: arguments, environment.
  std::array<unsigned long, 52> fields{};
  const char* at = status->c_str() + name_end + 1;
  for (std::size_t field = 3; field < fields.size(); ++field) {
    char* end = nullptr;
    while (*at == ' ') ++at;
    fields[field] = std::strtoul(at, &end, 10);
    at = end == at ? at + 1 : end;  // the state is a letter
  }
  ::clearenv();
  for (const std::size_t first : {std::size_t{48}, std::size_t{50}}) {
    if (fields[first] == 0 || fields[first + 1] < fields[first]) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel says where they are
    std::memset(reinterpret_cast<void*>(fields[first]), 0, fields[first + 1] - fields[first]);
  }
}

void set_environment(const JailOptions& options) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kOurs = {
      {{"PATH", kJailPath}, {"HOME", "/tmp"}, {"TMPDIR", "/tmp"}, {"LC_ALL", "C.UTF-8"}}};
  for (const auto& [name, value] : kOurs) ::setenv(name, value, 1);
  for (const auto& [name, value] : options.environment) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }
}

// What the parent knows and the child, in its namespaces, does not.
struct Start {
  bool root = false;
  uid_t uid = 0;
};

Result<void> take_identity(const JailOptions& options, const Start& start) {
  if (!start.root) return {};
  if (::setgroups(0, nullptr) != 0) return fail_errno("setgroups");
  if (options.user == JailUser::kReader) return {};
  if (::setresgid(start.uid, start.uid, start.uid) != 0) return fail_errno("setresgid");
  if (::setresuid(start.uid, start.uid, start.uid) != 0) return fail_errno("setresuid");
  return {};
}

// The bounding set goes while there is a capability to empty it with, all others after the
// identity.
Result<void> drop_powers(const JailOptions& options, const Start& start) {
  capng_clear(CAPNG_SELECT_BOTH);
  if (start.root && options.user == JailUser::kReader) {
    constexpr unsigned kSets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(kSets), CAP_DAC_READ_SEARCH);
  }
  if (capng_apply(CAPNG_SELECT_BOUNDS) != 0) return fail_errno("empty the bounding set");
  if (Result<void> done = take_identity(options, start); !done) return done;
  if (capng_apply(CAPNG_SELECT_CAPS) != 0) return fail_errno("capset");
  return renounce_privileges();
}

Result<void> put_on(const JailOptions& options, const Start& start) {
  forbid_user_namespaces();
  wipe_arguments_and_environment();
  Result<void> done = enter_root(options.root);
  set_environment(options);
  if (done) done = set_limits(options.limits);
  if (done) done = drop_powers(options, start);
  return done;
}

[[noreturn]] void live_in_jail(const JailOptions& options, const Start& start,
                               std::span<const int> kept, const std::function<int()>& body,
                               Fd lifeline) {
  die_with_parent();
  char go = 0;
  while (::recv(lifeline.get(), &go, 1, 0) < 0 && errno == EINTR) {
  }
  if (go == 0) ::_exit(EXIT_FAILURE);  // the parent is gone, or could not write the maps
  leave_terminal_and_signals();
  // A file that is too large is an error of write(2), not a death.
  ::signal(SIGXFSZ, SIG_IGN);
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(lifeline.get());
  keep_only_descriptors(all, /*keep_stderr=*/false);
  const Result<void> done = put_on(options, start);
  die_with_parent();
  if (parent_is_gone(lifeline.get())) ::_exit(EXIT_FAILURE);
  const std::string answer = done ? std::string(1, kReady) : done.error().message;
  ::send(lifeline.get(), answer.data(), std::min(answer.size(), kLongestAnswer), MSG_NOSIGNAL);
  if (!done) ::_exit(EXIT_FAILURE);
  lifeline.reset();
  ::_exit(body());
}

// ---- the parent

std::unexpected<Error> fail_start(int error) {
  std::string message = std::string("start the jailed builder: ") + std::strerror(error);
  if (const std::string advice = user_namespace_advice(error); !advice.empty()) {
    message += ": " + advice;
  } else if (error == ENOSPC) {
    message += ": see the sysctls user.max_*_namespaces";
  }
  return fail(message);
}

// Until the child has its jail on, or says why it has not.
Result<void> wait_until_ready(const Fd& lifeline) {
  std::array<char, kLongestAnswer> answer{};
  ssize_t got = 0;
  while ((got = ::recv(lifeline.get(), answer.data(), answer.size(), 0)) < 0 && errno == EINTR) {
  }
  if (got == 1 && answer[0] == kReady) return {};
  if (got <= 0) return fail("start the jailed builder: it ended at once");
  return fail(
      "start the jailed builder: " + std::string(answer.data(), static_cast<std::size_t>(got)) +
      ": images are built by a host that gives namespaces to its users");
}

}  // namespace

uid_t jailed_uid() {
  if (::geteuid() != 0) return ::geteuid();
  // No VM has it: theirs come from pids that are not ours (vmm/jail/identity.h).
  const uid_t uid = kFirstUid + static_cast<uid_t>(::getpid());
  for (const IdRange& range : own_ids("/proc/self/uid_map")) {
    if (uid >= range.first && uid - range.first < range.count) return uid;
  }
  return kNobody;
}

Result<JailedProcess> start_in_jail(const JailOptions& options, std::span<const int> kept,
                                    const std::function<int()>& body) {
  auto ends = make_lifeline();
  if (!ends) return std::unexpected(ends.error());
  const Start start{.root = ::geteuid() == 0, .uid = jailed_uid()};
  JailedProcess made;
  // A limit on top, where a place for it was given to us.
  if (auto cgroup = Cgroup::make(options.limits.memory)) made.cgroup = std::move(*cgroup);
  made.pid = fork_into(kNamespaces | (options.network ? 0 : CLONE_NEWNET), made.cgroup.fd());
  if (made.pid < 0) return fail_start(errno);
  if (made.pid == 0) {
    ends->first.reset();
    live_in_jail(options, start, kept, body, std::move(ends->second));
  }
  ends->second.reset();
  Result<void> done = write_maps(made.pid, start.root);
  if (done) {
    ::send(ends->first.get(), "g", 1, MSG_NOSIGNAL);
    done = wait_until_ready(ends->first);
  }
  if (!done) {
    ::kill(made.pid, SIGKILL);
    while (::waitpid(made.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return std::unexpected(done.error());
  }
  made.lifeline = std::move(ends->first);
  return made;
}

}  // namespace thimble::image
