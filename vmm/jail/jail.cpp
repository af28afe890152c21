// See jail.h. The order of the child's steps matters: /proc is needed before the private root,
// capabilities until after it, and a change of identity makes the kernel forget the signal that
// the parent's death sends.
#include "vmm/jail/jail.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "vmm/jail/descriptors.h"
#include "vmm/jail/identity.h"
#include "vmm/jail/namespaces.h"
#include "vmm/jail/private_root.h"

namespace thimble {

namespace {

// What the parent tells the child when its part is done.
struct Go {
  bool has_identity;
  Identity identity;
  std::array<char, 200> why_not;  // text, when there is no identity
};

Result<std::pair<Fd, Fd>> make_lifeline() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair for the VMM process");
  }
  return std::pair{Fd(ends[0]), Fd(ends[1])};
}

void die_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

bool parent_is_gone(int lifeline) {
  pollfd hung_up{lifeline, 0, 0};
  return ::poll(&hung_up, 1, 0) > 0;
}

void note(Confinement& confinement, Layer layer, const Result<void>& done) {
  if (!done) confinement.refuse(layer, done.error().message);
}

// ---- the child

Go wait_for_go(int lifeline) {
  Go go{};
  ssize_t got = 0;
  while ((got = ::recv(lifeline, &go, sizeof go, 0)) < 0 && errno == EINTR) {
  }
  if (got != sizeof go) ::_exit(EXIT_FAILURE);  // the parent is gone
  return go;
}

void take_layers(const Go& go, const JailOptions& options, uint64_t namespaces,
                 Confinement& confinement) {
  empty_bounding_set();
  if ((namespaces & CLONE_NEWUSER) != 0) forbid_user_namespaces();
  if ((namespaces & CLONE_NEWNS) != 0) {
    note(confinement, Layer::kPrivateRoot, enter_private_root());
  } else {
    confinement.refuse(Layer::kPrivateRoot, "it needs the mount namespace");
  }
  if (go.has_identity) {
    note(confinement, Layer::kIdentity, take_identity(go.identity));
  } else {
    confinement.refuse(Layer::kIdentity, go.why_not.data());
  }
  const bool counted_alone = (namespaces & CLONE_NEWUSER) != 0;
  note(confinement, Layer::kLimits, set_limits(options.limits, counted_alone));
  note(confinement, Layer::kCapabilities, drop_capabilities());
  note(confinement, Layer::kPrivileges, renounce_privileges());
}

[[noreturn]] void live_in_jail(const JailOptions& options, std::span<const int> kept,
                               const JailedBody& body, Fd lifeline, uint64_t namespaces,
                               Confinement confinement) {
  die_with_parent();
  const Go go = wait_for_go(lifeline.get());
  leave_terminal_and_signals();
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(lifeline.get());
  keep_only_descriptors(all, /*keep_stderr=*/false);
  if (options.beforehand) options.beforehand();
  take_layers(go, options, namespaces, confinement);
  die_with_parent();
  // The parent may have died before the line above: then nobody would ever kill this process.
  if (parent_is_gone(lifeline.get())) ::_exit(EXIT_FAILURE);
  lifeline.reset();
  ::_exit(body(confinement));
}

// ---- the parent

Go make_go(pid_t child, uint64_t namespaces) {
  Go go{};
  auto identity = give_identity(child, (namespaces & CLONE_NEWUSER) != 0);
  go.has_identity = identity.has_value();
  if (identity) {
    go.identity = *identity;
  } else {
    identity.error().message.copy(go.why_not.data(), go.why_not.size() - 1);
  }
  return go;
}

}  // namespace

Result<JailedProcess> start_jailed(const JailOptions& options, std::span<const int> kept,
                                   const JailedBody& body) {
  Confinement confinement;
  JailedProcess process;
  auto lifeline = make_lifeline();
  if (!lifeline) return std::unexpected(lifeline.error());
  auto cgroup = Cgroup::make(options.limits.memory_bytes);
  if (cgroup) {
    process.cgroup = std::move(*cgroup);
  } else {
    confinement.refuse(Layer::kCgroup, cgroup.error().message);
  }
  auto forked = fork_into_namespaces(process.cgroup.fd(), confinement);
  if (!forked) return std::unexpected(forked.error());
  if (forked->pid == 0) {
    lifeline->first.reset();
    live_in_jail(options, kept, body, std::move(lifeline->second), forked->namespaces,
                 std::move(confinement));
  }
  process.pid = forked->pid;
  process.lifeline = std::move(lifeline->first);
  const Go go = make_go(process.pid, forked->namespaces);
  ::send(process.lifeline.get(), &go, sizeof go, MSG_NOSIGNAL);
  return process;
}

Confinement probe_confinement() {
  Confinement confinement;
  auto ends = make_lifeline();
  if (!ends) return confinement;
  const int report = ends->second.get();
  const std::array kept{report};
  auto process = start_jailed({}, kept, [report](const Confinement& found) {
    for (const Confinement::Missing& missing : found.missing) {
      std::string line(1, static_cast<char>(missing.layer));
      line += missing.reason;
      ::send(report, line.data(), line.size(), MSG_NOSIGNAL);
    }
    return EXIT_SUCCESS;
  });
  if (!process) {
    confinement.refuse(Layer::kUserNamespace, process.error().message);
    return confinement;
  }
  ends->second.reset();
  std::array<char, 512> line{};
  ssize_t got = 0;
  while ((got = ::recv(ends->first.get(), line.data(), line.size(), 0)) > 0) {
    confinement.refuse(static_cast<Layer>(line[0]),
                       std::string(line.data() + 1, static_cast<size_t>(got) - 1));
  }
  while (::waitpid(process->pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return confinement;
}

}  // namespace thimble
