// See renewal.h. THIMBLE_RENEW is the folder of the sources, THIMBLE_RENEW_SO the compiled library,
// THIMBLE_RENEWAL_DIGEST what SHA-256 makes of all parts; they are given by guest-init/init.mk.
#include "tools/image/renewal.h"

#include <string_view>

#include "tools/image/files.h"

// A file of the project as bytes in the program.
#define THIMBLE_EMBED(name, path)                 \
  __asm__(".section .rodata\n" #name              \
          ":\n"                                   \
          ".incbin \"" path "\"\n" #name          \
          "_end:\n"                               \
          ".previous\n");                         \
  extern "C" const char name[];      /* NOLINT */ \
  extern "C" const char name##_end[] /* NOLINT */

THIMBLE_EMBED(thimble_renew_so, THIMBLE_RENEW_SO);
THIMBLE_EMBED(thimble_renew_cjs, THIMBLE_RENEW "/renew.cjs");
THIMBLE_EMBED(thimble_compile_ahead_cjs, THIMBLE_RENEW "/compile_ahead.cjs");
THIMBLE_EMBED(thimble_renew_py, THIMBLE_RENEW "/thimble_renew.py");

namespace thimble::image {

namespace {

constexpr const char* kFolder = "usr/lib/thimble";

// As an option of node.
std::string preload(const char* file) { return std::string("--require=/") + kFolder + "/" + file; }

constexpr const char* kRenew = "renew.cjs";
constexpr const char* kCompileAhead = "compile_ahead.cjs";

}  // namespace

Result<void> add_node_renewal(const Building& building, Manifest& manifest) {
  const std::filesystem::path folder = building.root / kFolder;
  Result<void> done = make_directories(folder);
  if (done) {
    done =
        write_file(folder / "renew.so", std::string_view(thimble_renew_so, thimble_renew_so_end));
  }
  if (done) {
    done = write_file(folder / kRenew, std::string_view(thimble_renew_cjs, thimble_renew_cjs_end));
  }
  if (done) {
    done = write_file(folder / kCompileAhead,
                      std::string_view(thimble_compile_ahead_cjs, thimble_compile_ahead_cjs_end));
  }
  manifest.env[kRenewsVariable] = "1";
  manifest.env["LD_PRELOAD"] = std::string("/") + kFolder + "/renew.so";
  manifest.env["NODE_OPTIONS"] = preload(kRenew);
  return done;
}

Result<void> add_python_renewal(const Building& building, Manifest& manifest) {
  manifest.env[kRenewsVariable] = "1";
  const std::filesystem::path library = building.root / "usr/lib";
  Result<void> done = write_file(library / "python3.11/thimble_renew.py",
                                 std::string_view(thimble_renew_py, thimble_renew_py_end));
  if (done) done = make_directories(library / "python3/dist-packages");
  // The interpreter imports what stands in a .pth file, also when it is isolated (-I).
  if (done) {
    done = write_file(library / "python3/dist-packages/thimble.pth", "import thimble_renew\n");
  }
  return done;
}

void compile_ahead(std::vector<std::string>& environment) {
  const std::string ours = "NODE_OPTIONS=" + preload(kRenew);
  for (std::string& variable : environment) {
    // The user's own options may follow.
    if (variable == ours || variable.starts_with(ours + " ")) {
      variable.insert(ours.size(), " " + preload(kCompileAhead));
    }
  }
}

std::string renewal_digest() { return THIMBLE_RENEWAL_DIGEST; }

}  // namespace thimble::image
