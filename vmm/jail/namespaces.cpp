// See namespaces.h.
#include "vmm/jail/namespaces.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>

#include "devices/fd.h"

namespace thimble {

namespace {

struct Kind {
  uint64_t flag;
  Layer layer;
};

// The user namespace comes first: without it an ordinary user gets none of the others.
constexpr std::array kKinds{
    Kind{CLONE_NEWUSER, Layer::kUserNamespace},     Kind{CLONE_NEWNS, Layer::kMountNamespace},
    Kind{CLONE_NEWPID, Layer::kPidNamespace},       Kind{CLONE_NEWNET, Layer::kNetworkNamespace},
    Kind{CLONE_NEWIPC, Layer::kIpcNamespace},       Kind{CLONE_NEWUTS, Layer::kUtsNamespace},
    Kind{CLONE_NEWCGROUP, Layer::kCgroupNamespace},
};

constexpr uint64_t all_kinds() {
  uint64_t flags = 0;
  for (const Kind& kind : kKinds) flags |= kind.flag;
  return flags;
}

// libc notes the thread id in its own memory at fork(). Made by hand, a child has to be given the
// place, which the kernel knows; without it the note is stale, which only robust and recursive
// mutexes of the main thread would notice.
uint64_t thread_id_note() {
  uint64_t* place = nullptr;
  if (::prctl(PR_GET_TID_ADDRESS, &place) != 0) return 0;
  return reinterpret_cast<uint64_t>(place);
}

// fork() with flags: the child goes on here with a copy of all memory. -1 with errno.
pid_t clone_process(uint64_t flags, int cgroup) {
  clone_args args{};
  args.flags = flags;
  args.exit_signal = SIGCHLD;
  if (const uint64_t note = thread_id_note(); note != 0) {
    args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    args.child_tid = note;
  }
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  const long made = ::syscall(SYS_clone3, &args, sizeof args);
  if (made >= 0 || errno != ENOSYS || cgroup >= 0) return static_cast<pid_t>(made);
  // Some containers' filters answer "no such call" to clone3, since they cannot look into its
  // arguments.
  return static_cast<pid_t>(
      ::syscall(SYS_clone, args.flags | SIGCHLD, nullptr, nullptr, args.child_tid, 0));
}

// 0 when a process can be made with these flags, or an errno.
int try_flags(uint64_t flags) {
  const Spawned spawned = spawn(nullptr, flags, -1);
  if (spawned.pid < 0) return spawned.error;
  while (::waitpid(spawned.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return 0;
}

std::string explain(uint64_t flag, int error) {
  std::string text = std::strerror(error);
  if (flag == CLONE_NEWUSER) {
    if (const std::string advice = user_namespace_advice(error); !advice.empty()) {
      text += ": " + advice;
    }
  } else if (error == ENOSPC) {
    text += ": see the sysctls user.max_*_namespaces";
  }
  return text;
}

// The largest set that works, found one by one: only where the whole set was refused.
uint64_t find_allowed(Confinement& confinement) {
  uint64_t allowed = 0;
  std::string without_user;
  for (const Kind& kind : kKinds) {
    const int error = try_flags(allowed | kind.flag);
    if (error == 0) {
      allowed |= kind.flag;
      continue;
    }
    std::string reason = explain(kind.flag, error);
    if (kind.flag == CLONE_NEWUSER) without_user = reason;
    // For an ordinary user the others fail because of the first.
    const bool follows = error == EPERM && !without_user.empty();
    confinement.refuse(kind.layer, follows ? without_user : std::move(reason));
  }
  return allowed;
}

// What is refused is noted before the process that counts is made, so that a fork knows it too.
Result<Forked> make_in_namespaces(const std::function<pid_t(uint64_t flags, int cgroup)>& make,
                                  int cgroup, Confinement& confinement) {
  Forked forked;
  forked.namespaces = all_kinds();
  forked.pid = make(forked.namespaces, cgroup);
  if (forked.pid >= 0) return forked;
  if (try_flags(forked.namespaces) != 0) forked.namespaces = find_allowed(confinement);
  forked.pid = make(forked.namespaces, cgroup);
  if (forked.pid < 0 && cgroup >= 0) {
    confinement.refuse(Layer::kCgroup, std::strerror(errno));
    forked.pid = make(forked.namespaces, -1);
  }
  if (forked.pid < 0) return fail_errno("start a process for the VM");
  return forked;
}

bool setting_is(const char* path, char value) {
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  char content[2] = {};
  return file && ::read(file.get(), content, sizeof content) == 2 && content[0] == value &&
         content[1] == '\n';
}

}  // namespace

void forbid_user_namespaces() {
  const Fd limit(::open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC));
  if (limit) [[maybe_unused]]
    const ssize_t written = ::write(limit.get(), "0", 1);
}

std::string user_namespace_advice(int error) {
  if (setting_is("/proc/sys/kernel/unprivileged_userns_clone", '0')) {
    return "sysctl -w kernel.unprivileged_userns_clone=1";
  }
  if (setting_is("/proc/sys/user/max_user_namespaces", '0')) {
    return "sysctl -w user.max_user_namespaces=10000";
  }
  if (setting_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1')) {
    return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with "
           "`userns,`";
  }
  if (error == EPERM) return "a container's filter may forbid it";
  return "";
}

Result<Forked> spawn_into_namespaces(const Program& program, int cgroup, Confinement& confinement) {
  bool program_refused = false;
  auto made = make_in_namespaces(
      [&](uint64_t flags, int group) {
        const Spawned spawned = spawn(&program, flags, group);
        program_refused = spawned.program_refused;
        errno = spawned.error;
        return spawned.pid;
      },
      cgroup, confinement);
  if (made || !program_refused) return made;
  return fail("execute the program of the VMM: " + made.error().message);
}

Result<Forked> fork_into_namespaces(int cgroup, Confinement& confinement) {
  return make_in_namespaces(clone_process, cgroup, confinement);
}

}  // namespace thimble
