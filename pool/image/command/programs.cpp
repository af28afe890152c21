// See programs.h.
#include "pool/image/command/programs.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace thimble::image {
namespace {

// `busybox --list` of Debian's busybox-static, and bash.
constexpr std::string_view kBusybox =
    " [ [[ acpid adjtimex ar arch arp arping ascii ash awk base64 basename bash bc blkdiscard "
    "blockdev brctl bunzip2 busybox bzcat bzip2 cal cat chgrp chmod chown chroot chvt clear cmp "
    "cp cpio crc32 crond crontab cttyhack cut date dc dd deallocvt depmod devmem df diff "
    "dirname dmesg dnsdomainname dos2unix dpkg dpkg-deb du dumpkmap dumpleases echo ed egrep "
    "env expand expr factor fallocate false fatattr fdisk fgrep find findfs fold free "
    "freeramdisk fsfreeze fstrim ftpget ftpput getopt getty grep groups gunzip gzip halt head "
    "hexdump hostid hostname httpd hwclock i2cdetect i2cdump i2cget i2cset i2ctransfer id "
    "ifconfig ifdown ifup init insmod ionice ip ipcalc ipneigh kill killall klogd last less "
    "link linux32 linux64 linuxrc ln loadfont loadkmap logger login logname logread losetup ls "
    "lsmod lsscsi lzcat lzma lzop md5sum mdev microcom mim mkdir mkdosfs mke2fs mkfifo mknod "
    "mkpasswd mkswap mktemp modinfo modprobe more mount mt mv nameif nc netstat nl nologin "
    "nproc nsenter nslookup nuke od openvt partprobe passwd paste patch pidof ping ping6 "
    "pivot_root poweroff printf ps pwd rdate readlink realpath reboot renice reset resume rev "
    "rm rmdir rmmod route rpm rpm2cpio run-init run-parts sed seq setkeycodes setpriv setsid sh "
    "sha1sum sha256sum sha3sum sha512sum shred shuf sleep sort ssl_client start-stop-daemon "
    "stat strings stty su sulogin svc svok swapoff swapon switch_root sync sysctl syslogd tac "
    "tail tar taskset tc tee telnet telnetd test tftp time timeout top touch tr traceroute "
    "traceroute6 true truncate ts tty tunctl ubirename udhcpc udhcpd uevent umount uname "
    "uncompress unexpand uniq unix2dos unlink unlzma unshare unxz unzip uptime usleep uudecode "
    "uuencode vconfig vi w watch watchdog wc wget which who whoami xargs xxd xz xzcat yes zcat ";

struct Advice {
  std::string_view program;
  const char* what;
};

constexpr const char* kPythonPackages =
    "packages of PyPI are not fetched by thimble yet: make an environment with python3.11 -m venv "
    "DIR and DIR/bin/pip install PACKAGE, then write DIR/bin/COMMAND";
constexpr const char* kContainers =
    "a guest runs no containers: write the server's own command, or `thimble image build` the root "
    "file system that `docker export` gives and name it with --image";
constexpr const char* kUseNpx = "npm's packages are run by npx: write npx -y PACKAGE ARGS…";
constexpr const char* kOtherRuntime =
    "no recipe has this runtime yet: `thimble image build DIR` makes an image of a root file "
    "system "
    "that has it, for --image";

constexpr std::array<Advice, 22> kAdvice = {{
    {"uvx", kPythonPackages}, {"uv", kPythonPackages},   {"pipx", kPythonPackages},
    {"pip", kPythonPackages}, {"pip3", kPythonPackages}, {"poetry", kPythonPackages},
    {"docker", kContainers},  {"podman", kContainers},   {"nerdctl", kContainers},
    {"bunx", kUseNpx},        {"pnpx", kUseNpx},         {"pnpm", kUseNpx},
    {"yarn", kUseNpx},        {"bun", kOtherRuntime},    {"deno", kOtherRuntime},
    {"java", kOtherRuntime},  {"dotnet", kOtherRuntime}, {"go", kOtherRuntime},
    {"ruby", kOtherRuntime},  {"perl", kOtherRuntime},   {"php", kOtherRuntime},
    {"cargo", kOtherRuntime},
}};

}  // namespace

bool is_in_recipes(std::string_view library) {
  constexpr std::array<std::string_view, 16> kLibraries = {
      "libc.so.6",     "libm.so.6",      "libpthread.so.0",   "libdl.so.2",
      "librt.so.1",    "libutil.so.1",   "libresolv.so.2",    "libnsl.so.1",
      "libanl.so.1",   "libcrypt.so.1",  "libmvec.so.1",      "libBrokenLocale.so.1",
      "libgcc_s.so.1", "libstdc++.so.6", "libthread_db.so.1", "ld-linux-x86-64.so.2"};
  return std::ranges::find(kLibraries, library) != kLibraries.end();
}

std::string why_not_runnable(const std::string& program) {
  const auto* advice = std::ranges::find(kAdvice, program, &Advice::program);
  if (advice != kAdvice.end()) return program + ": not supported: " + advice->what;
  if (kBusybox.contains(" " + program + " ")) return {};
  return program +
         ": not in the image busybox, which is for commands that no other recipe is for: name an "
         "image that has it with --image (see thimble image build)";
}

}  // namespace thimble::image
