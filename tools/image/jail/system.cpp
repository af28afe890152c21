// See system.h.
#include "tools/image/jail/system.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "devices/text.h"
#include "pool/image/files.h"
#include "tools/image/jail/jail.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// Where systems and package managers install for everybody; nobody's private files are there.
constexpr std::array kSystem = {"/usr",
                                "/etc/ld.so.cache",
                                "/bin",
                                "/sbin",
                                "/lib",
                                "/lib32",
                                "/lib64",
                                "/libx32",
                                "/nix/store",
                                "/gnu/store",
                                "/home/linuxbrew/.linuxbrew"};

// No passwords, keys or tokens: what of these is private only root may read, and the jail is not
// root.
constexpr std::array kConfiguration = {
    "/etc/alternatives",    "/etc/apt",           "/etc/ca-certificates",
    "/etc/crypto-policies", "/etc/dpkg",          "/etc/gai.conf",
    "/etc/host.conf",       "/etc/pki/tls/certs", "/etc/pki/ca-trust",
    "/etc/protocols",       "/etc/services",      "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf", "/var/lib/apt",       "/var/lib/dpkg",
    "/var/cache/apt"};

void add_mount(RootTree& tree, const fs::path& place) {
  std::error_code code;
  const fs::path from = fs::canonical(place, code);
  if (!code) tree.mounts.push_back({.from = from, .to = place});
}

bool is_installed(const fs::path& path) {
  return std::ranges::any_of(kSystem, [&](const char* root) { return is_within(path, root); });
}

// npm is a folder of scripts around bin/npm-cli.js; other programs are one file.
fs::path whole_program(const fs::path& program) {
  std::error_code code;
  const fs::path package = program.parent_path().parent_path();
  return program.extension() == ".js" && fs::exists(package / "package.json", code) ? package
                                                                                    : program;
}

void add_program(RootTree& tree, const std::string& name, const fs::path& found) {
  std::error_code code;
  const fs::path program = fs::canonical(found, code);
  if (found.empty() || code) return;
  tree.links.emplace_back(fs::path(kJailPrograms) / name, program);
  if (is_installed(program)) return;
  const fs::path whole = whole_program(program);
  const bool there = std::ranges::any_of(
      tree.mounts, [&](const JailMount& mount) { return is_within(whole, mount.to); });
  if (!there) tree.mounts.push_back({.from = whole, .to = whole});
}

// A stand-in looks into the home directory for the version that is meant.
fs::path real_node() {
  std::error_code code;
  fs::path node = fs::canonical(find_program("node"), code);
  if (code || is_installed(node)) return node;
  const Result<Output> asked = run_process({.argv = {node.string(), "-p", "process.execPath"}});
  if (!asked || asked->status != 0) return node;
  const fs::path answer = asked->out.substr(0, asked->out.find('\n'));
  return answer.is_absolute() ? answer : node;
}

void add_program(RootTree& tree, const char* name) { add_program(tree, name, find_program(name)); }

void add_node(RootTree& tree) {
  const fs::path node = real_node();
  add_program(tree, "node", node);
  std::error_code code;
  const fs::path beside = node.parent_path() / "npm";
  const bool own_npm = !node.empty() && !is_installed(node) && fs::exists(beside, code);
  add_program(tree, "npm", own_npm ? beside : find_program("npm"));
}

void add_copy(RootTree& tree, const char* file) {
  // Often a symbolic link to somewhere in /run.
  if (Result<std::string> text = read_file(file, 1 << 20)) {
    tree.files.emplace_back(file, std::move(*text));
  }
}

}  // namespace

RootTree packing_tree() {
  RootTree tree;
  for (const char* place : kSystem) {
    std::error_code code;
    const fs::path target = fs::read_symlink(place, code);
    if (!code) {
      tree.links.emplace_back(place, target);
    } else {
      add_mount(tree, place);
    }
  }
  const unsigned uid = jailed_uid();
  tree.files.emplace_back("/etc/passwd", text("root:x:0:0::/tmp:/bin/false\n"
                                              "builder:x:%u:%u::/tmp:/bin/false\n",
                                              uid, uid));
  tree.files.emplace_back("/etc/group", text("root:x:0:\nbuilder:x:%u:\n", uid));
  add_program(tree, "mkfs.erofs");
  return tree;
}

RootTree building_tree() {
  RootTree tree = packing_tree();
  for (const char* place : kConfiguration) add_mount(tree, place);
  add_node(tree);
  for (const char* name : {"strip", "apt-get", "dpkg-deb", "dpkg-query"}) add_program(tree, name);
  return tree;
}

void add_name_service(RootTree& tree) {
  for (const char* file : {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}) {
    add_copy(tree, file);
  }
}

}  // namespace thimble::image
