// The busybox and node recipes.
#include "tools/image/recipes.h"

#include <array>

#include "pool/image/files.h"
#include "pool/image/image.h"
#include "tools/image/debian.h"
#include "tools/image/libraries.h"
#include "tools/image/npm.h"
#include "tools/image/process.h"
#include "tools/image/reseed_files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

Result<void> make_base(Building& building) {
  Result<void> done = make_skeleton(building);
  if (done) done = add_busybox(building);
  if (done) done = add_certificates(building);
  return done;
}

// What programs for Debian expect to find, besides their own libraries: all of glibc with its
// locale, the compiler's runtime libraries, bash, time zones, names of services and protocols.
const std::vector<std::string>& debian_base() {
  static const std::vector<std::string> packages = {
      "bash", "libc-bin", "libc6", "libgcc-s1", "libstdc++6", "libtinfo6", "netbase", "tzdata"};
  return packages;
}

// Debian's own first: a link of busybox's never takes a program's place.
Result<void> make_debian_base(Building& building, std::vector<std::string> packages) {
  packages.insert(packages.end(), debian_base().begin(), debian_base().end());
  Result<void> done = make_skeleton(building);
  building.progress("taking libraries, bash and time zones from Debian");
  if (done) done = unpack_debian(building, packages, building.root);
  if (done) done = add_busybox(building);
  if (done) done = add_certificates(building);
  return done;
}

// Debian's node keeps some of its built-in modules outside the binary.
Result<void> add_debian_node_modules(const Building& building) {
  constexpr std::array<const char*, 7> kModules = {
      "acorn", "acorn-walk", "busboy", "cjs-module-lexer", "minimatch", "streamsearch", "undici"};
  for (const char* module : kModules) {
    const fs::path source = fs::path("/usr/share/nodejs") / module;
    std::error_code code;
    if (!fs::exists(building.root / "usr/lib/x86_64-linux-gnu/libnode.so.108", code) ||
        !fs::exists(source, code)) {
      continue;
    }
    const fs::path place = building.root / "usr/share/nodejs" / module;
    Result<void> done = make_directories(place);
    if (done) done = copy_tree(source, place);
    if (!done) return done;
  }
  return {};
}

Result<void> add_system_node(Building& building) {
  std::error_code code;
  const fs::path node = fs::canonical(find_program("node"), code);
  if (code) return fail("copy this machine's node: there is none in PATH: use --node npm");
  const Result<std::string> version =
      run_checked({.argv = {node.string(), "--version"}}, "ask node for its version");
  if (!version) return std::unexpected(version.error());
  building.inputs["system_node"] = version->substr(0, version->find('\n'));
  Result<void> done = add_executable(building, node, "node");
  if (done) done = add_debian_node_modules(building);
  return done;
}

Result<void> add_pinned_node(Building& building) {
  const Result<fs::path> node = pinned_file(building, kNode);
  if (!node) return std::unexpected(node.error());
  const fs::path place = building.root / "usr/bin/node";
  Result<void> done = copy_regular(*node, place);
  std::error_code code;
  fs::permissions(place,
                  fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                      fs::perms::others_read | fs::perms::others_exec,
                  code);
  return done;
}

}  // namespace

Result<Manifest> make_busybox(Building& building) {
  if (Result<void> done = make_base(building); !done) return std::unexpected(done.error());
  Manifest manifest;
  manifest.name = "busybox";
  manifest.command = {"sh"};
  manifest.env = base_environment();
  return manifest;
}

Result<Manifest> make_node(Building& building, NodeSource source) {
  Result<void> done = make_debian_base(building, {});
  if (done) {
    building.progress("adding node");
    done = source == NodeSource::kNpm ? add_pinned_node(building) : add_system_node(building);
  }
  if (!done) return std::unexpected(done.error());
  Manifest manifest;
  manifest.name = "node";
  manifest.command = {"node"};
  manifest.env = base_environment();
  if (Result<void> added = add_node_reseed(building, manifest); !added) {
    return std::unexpected(added.error());
  }
  return manifest;
}

Result<Manifest> make_python(Building& building) {
  // python3.11 with its whole standard library, as Debian splits it, and what its extension modules
  // link to.
  const std::vector<std::string> kPackages = {"libbz2-1.0",
                                              "libcom-err2",
                                              "libcrypt1",
                                              "libdb5.3",
                                              "libexpat1",
                                              "libffi8",
                                              "libgdbm6",
                                              "libgssapi-krb5-2",
                                              "libk5crypto3",
                                              "libkeyutils1",
                                              "libkrb5-3",
                                              "libkrb5support0",
                                              "liblzma5",
                                              "libncursesw6",
                                              "libnsl2",
                                              "libpython3.11-minimal",
                                              "libpython3.11-stdlib",
                                              "libreadline8",
                                              "libsqlite3-0",
                                              "libssl3",
                                              "libtirpc-common",
                                              "libtirpc3",
                                              "libuuid1",
                                              "python3-distutils",
                                              "python3-gdbm",
                                              "python3-lib2to3",
                                              "python3.11-minimal",
                                              "zlib1g"};
  const fs::path& root = building.root;
  Result<void> done = make_debian_base(building, kPackages);
  // Should a module link to more than is listed above.
  if (done) done = add_libraries(building, collect_needs(root / "usr/lib/python3.11/lib-dynload"));
  if (!done) return std::unexpected(done.error());
  for (const char* name : {"python3", "python"}) {
    const Result<void> linked = make_symlink("python3.11", root / "usr/bin" / name);
    if (!linked) return std::unexpected(linked.error());
  }
  Manifest manifest;
  manifest.name = "python";
  manifest.command = {"python3"};
  manifest.env = base_environment();
  if (Result<void> added = add_python_reseed(building, manifest); !added) {
    return std::unexpected(added.error());
  }
  building.progress("compiling the standard library");
  // Debian's own interpreter, from the packages just unpacked. Unchecked-hash files hold no times;
  // they are read without looking at the source. The compiler's own imports must not leave files
  // with times, which would be stale in the image.
  const std::string libraries = (root / "usr/lib/x86_64-linux-gnu").string();
  const Result<std::string> compiled =
      run_checked({.argv = {(root / "usr/lib64/ld-linux-x86-64.so.2").string(), "--library-path",
                            libraries, (root / "usr/bin/python3.11").string(), "-S", "-m",
                            "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s",
                            root.string(), "-p", "/", (root / "usr/lib/python3.11").string()},
                   .cwd = building.work,
                   .env = {{"PYTHONHOME", (root / "usr").string()},
                           {"PYTHONPATH", ""},
                           {"PYTHONHASHSEED", "0"},
                           {"PYTHONDONTWRITEBYTECODE", "1"}}},
                  "compile python's standard library");
  if (!compiled) return std::unexpected(compiled.error());
  return manifest;
}

}  // namespace thimble::image
