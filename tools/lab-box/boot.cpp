// Start of the box; see boot.h.
#include "tools/lab-box/boot.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "devices/fd.h"

namespace thimble::lab {
namespace {

namespace fs = std::filesystem;

struct Mount {
  const char* type;
  const char* source;
  const char* target;
  unsigned long flags;
  const char* options;
};

Result<void> mount_one(const Mount& m) {
  ::mkdir(m.target, 0755);
  if (::mount(m.source, m.target, m.type, m.flags, m.options) != 0) {
    return fail_errno(std::string("mount ") + m.type + " on " + m.target);
  }
  return {};
}

Result<void> mount_all(std::initializer_list<Mount> mounts) {
  for (const Mount& m : mounts) {
    if (auto done = mount_one(m); !done) return done;
  }
  return {};
}

Result<void> load_module(const std::string& name, const std::string& parameters) {
  const std::string path = "/modules/" + name + ".ko";
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("open " + path);
  if (::syscall(SYS_finit_module, file.get(), parameters.c_str(), 0) != 0 && errno != EEXIST) {
    return fail_errno("load module " + name);
  }
  return {};
}

std::string current_clock() {
  std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  std::string name;
  file >> name;
  return name;
}

// The kernel measures the frequency of the time stamp counter when it starts and, better, for a
// second after that; then the clock is no longer called tsc-early. KVM takes the frequency over
// when it is loaded. If that is the first one and it was bad, KVM believes that guests want a
// counter slower than the processor's, which it cannot give them, and their timers come hours late.
void await_clock() {
  constexpr int kTries = 1000;
  constexpr useconds_t kBetween = 10'000;
  if (auto mounted = mount_one({"sysfs", "sysfs", "/sys", 0, ""}); !mounted) {
    std::fprintf(stderr, "lab-agent: %s\n", mounted.error().message.c_str());
  }
  for (int i = 0; i < kTries; ++i) {
    if (current_clock() == "tsc") return;
    ::usleep(kBetween);
  }
  std::fprintf(stderr, "lab-agent: the clock is %s after ten seconds\n", current_clock().c_str());
}

Result<void> load_modules() {
  std::ifstream list("/modules.txt");
  std::string line;
  while (std::getline(list, line)) {
    if (line.empty() || line.front() == '#') continue;
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string parameters = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "kvm") await_clock();
    // A box without vhost_vsock is still a box: what is missing shows where it is used.
    if (auto loaded = load_module(name, parameters); !loaded) {
      std::fprintf(stderr, "lab-agent: %s\n", loaded.error().message.c_str());
    }
  }
  return {};
}

Result<void> mount_root() {
  if (auto done = mount_all({
          {"virtiofs", "host", "/host", 0, ""},
          {"virtiofs", "live", "/live", 0, ""},
          {"tmpfs", "layer", "/layer", 0, "mode=0755"},
      });
      !done) {
    return done;
  }
  ::mkdir("/layer/upper", 0755);
  ::mkdir("/layer/work", 0755);
  return mount_all({
      {"overlay", "lab", "/newroot", 0, "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work"},
      {"proc", "proc", "/newroot/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
      {"sysfs", "sysfs", "/newroot/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
      {"cgroup2", "cgroup2", "/newroot/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC,
       "nsdelegate,favordynmods"},
      {"devtmpfs", "dev", "/newroot/dev", MS_NOSUID, "mode=0755"},
      {"devpts", "devpts", "/newroot/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666"},
      {"tmpfs", "shm", "/newroot/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
      {"tmpfs", "tmp", "/newroot/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
      {"tmpfs", "run", "/newroot/run", MS_NOSUID | MS_NODEV, "mode=0755"},
  });
}

Result<void> share(const std::string& path) {
  const std::string source = "/live" + path;
  const std::string target = "/newroot" + path;
  std::error_code ignored;
  fs::create_directories(target, ignored);
  if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    return fail_errno("share " + path + " with the box");
  }
  return {};
}

Result<void> enter_root() {
  std::ofstream("/newroot/etc/hosts", std::ios::app) << "\n127.0.1.1 thimble-lab\n";
  // Programs expect these names whatever /dev is made of.
  std::error_code ignored;
  fs::create_symlink("/proc/self/fd", "/newroot/dev/fd", ignored);
  fs::create_symlink("/proc/self/fd/0", "/newroot/dev/stdin", ignored);
  fs::create_symlink("/proc/self/fd/1", "/newroot/dev/stdout", ignored);
  fs::create_symlink("/proc/self/fd/2", "/newroot/dev/stderr", ignored);
  ::chmod("/newroot/dev/kvm", 0666);
  ::chmod("/newroot/dev/fuse", 0666);
  ::chmod("/newroot/dev/net/tun", 0666);
  if (::chdir("/newroot") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0) {
    return fail_errno("enter the box's root");
  }
  return {};
}

Result<void> interface_up(const char* name, const char* address) {
  const Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
  sockaddr_in ip{};
  ip.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &ip.sin_addr);
  std::memcpy(&request.ifr_addr, &ip, sizeof(ip));
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) {
    return fail_errno(std::string("give ") + name + " its address");
  }
  ::inet_pton(AF_INET, "255.255.255.0", &ip.sin_addr);
  std::memcpy(&request.ifr_netmask, &ip, sizeof(ip));
  if (std::string_view(name) != "lo") ::ioctl(control.get(), SIOCSIFNETMASK, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) {
    return fail_errno(std::string("bring up ") + name);
  }
  return {};
}

Result<void> set_limits() {
  const rlimit files{1024, 1048576};  // what a login on a Debian machine has
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::umask(022);
  constexpr std::string_view kName = "thimble-lab";
  if (::sethostname(kName.data(), kName.size()) != 0) return fail_errno("name the box");
  return {};
}

}  // namespace

void refresh_root() {
  // A remount drops every unused name of the overlay. Without that a file that was replaced outside
  // is "Stale file handle" for ever: overlayfs does not forgive a lower layer that changes.
  ::mount(nullptr, "/", nullptr, MS_REMOUNT, nullptr);
}

Result<BoxConfig> read_config(const std::string& path) {
  std::ifstream file(path);
  BoxConfig config;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("token ")) config.token = line.substr(6);
    if (line == "virtual-time") config.virtual_time = true;
    if (line.starts_with("bind ")) config.binds.push_back(line.substr(5));
  }
  if (config.token.empty()) return fail("read " + path + ": no token in it");
  return config;
}

Result<void> boot(const BoxConfig& config) {
  if (auto done = set_limits(); !done) return done;
  if (auto done = load_modules(); !done) return done;
  if (auto done = mount_root(); !done) return done;
  for (const auto& path : config.binds) {
    if (auto done = share(path); !done) return done;
  }
  if (auto done = enter_root(); !done) return done;
  if (auto done = interface_up("lo", "127.0.0.1"); !done) return done;
  // No default route: the box has no outside, and a look-up fails at once instead of hanging.
  return interface_up("eth0", "10.0.2.15");
}

}  // namespace thimble::lab
