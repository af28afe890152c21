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
#include "vmm/jail/order.h"
#include "vmm/jail/private_root.h"

namespace thimble {

namespace {

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

JailOrder wait_for_order(int lifeline) {
  std::array<uint8_t, kMaxOrderBytes> datagram{};
  ssize_t got = 0;
  while ((got = ::recv(lifeline, datagram.data(), datagram.size(), 0)) < 0 && errno == EINTR) {
  }
  if (got <= 0) ::_exit(EXIT_FAILURE);  // the parent is gone
  auto order = parse_order(std::span(datagram).first(static_cast<size_t>(got)));
  if (!order) ::_exit(EXIT_FAILURE);
  return std::move(*order);
}

Confinement take_layers(JailOrder order) {
  Confinement confinement = std::move(order.confinement);
  empty_bounding_set();
  if ((order.namespaces & CLONE_NEWUSER) != 0) forbid_user_namespaces();
  if ((order.namespaces & CLONE_NEWNS) != 0) {
    note(confinement, Layer::kPrivateRoot, enter_private_root());
  } else {
    confinement.refuse(Layer::kPrivateRoot, "it needs the mount namespace");
  }
  if (order.has_identity) {
    note(confinement, Layer::kIdentity, take_identity(order.identity));
  } else {
    confinement.refuse(Layer::kIdentity, order.why_no_identity);
  }
  const bool counted_alone = (order.namespaces & CLONE_NEWUSER) != 0;
  note(confinement, Layer::kLimits, set_limits(order.limits, counted_alone));
  note(confinement, Layer::kCapabilities, drop_capabilities());
  note(confinement, Layer::kPrivileges, renounce_privileges());
  return confinement;
}

// ---- the parent

void give_order(const JailedProcess& process, uint64_t namespaces, const JailOptions& options,
                Confinement confinement) {
  JailOrder order{
      .namespaces = namespaces, .limits = options.limits, .confinement = std::move(confinement)};
  auto identity = give_identity(process.pid, (namespaces & CLONE_NEWUSER) != 0);
  order.has_identity = identity.has_value();
  if (identity) {
    order.identity = *identity;
  } else {
    order.why_no_identity = identity.error().message;
  }
  const std::vector<uint8_t> datagram = save_state(order);
  // A child that is gone already is found by whoever waits for its word.
  ::send(process.lifeline.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL);
}

using Make = std::function<Result<Forked>(int cgroup, Confinement& confinement)>;

// `make` makes the process; a fork does not come back from it.
Result<JailedProcess> start_with(const JailOptions& options, Fd lifeline, const Make& make) {
  Confinement confinement;
  JailedProcess process;
  process.lifeline = std::move(lifeline);
  auto cgroup = Cgroup::make(options.limits.memory_bytes);
  if (cgroup) {
    process.cgroup = std::move(*cgroup);
  } else {
    confinement.refuse(Layer::kCgroup, cgroup.error().message);
  }
  auto made = make(process.cgroup.fd(), confinement);
  if (!made) return std::unexpected(made.error());
  process.pid = made->pid;
  give_order(process, made->namespaces, options, std::move(confinement));
  return process;
}

}  // namespace

Confinement enter_jail(Fd lifeline, std::span<const int> kept,
                       const std::function<void()>& beforehand) {
  die_with_parent();
  JailOrder order = wait_for_order(lifeline.get());
  leave_terminal_and_signals();
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(lifeline.get());
  keep_only_descriptors(all, /*keep_stderr=*/false);
  if (beforehand) beforehand();
  Confinement confinement = take_layers(std::move(order));
  die_with_parent();
  // The parent may have died before the line above: then nobody would ever kill this process.
  if (parent_is_gone(lifeline.get())) ::_exit(EXIT_FAILURE);
  return confinement;
}

Result<JailedProcess> start_in_jail(const JailOptions& options, int program, const char* name,
                                    std::span<const int> descriptors) {
  auto lifeline = make_lifeline();
  if (!lifeline) return std::unexpected(lifeline.error());
  std::vector<int> all{lifeline->second.get()};
  all.insert(all.end(), descriptors.begin(), descriptors.end());
  return start_with(options, std::move(lifeline->first), [&](int cgroup, Confinement& confinement) {
    return spawn_into_namespaces({.file = program, .name = name, .descriptors = all}, cgroup,
                                 confinement);
  });
}

Result<JailedProcess> start_jailed(const JailOptions& options, std::span<const int> kept,
                                   const JailedBody& body) {
  auto lifeline = make_lifeline();
  if (!lifeline) return std::unexpected(lifeline.error());
  const int near_end = lifeline->first.get();
  return start_with(options, std::move(lifeline->first),
                    [&](int cgroup, Confinement& confinement) -> Result<Forked> {
                      auto forked = fork_into_namespaces(cgroup, confinement);
                      if (!forked || forked->pid != 0) return forked;
                      ::close(near_end);
                      ::_exit(body(enter_jail(std::move(lifeline->second), kept, nullptr)));
                    });
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
