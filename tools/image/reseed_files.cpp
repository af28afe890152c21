// See reseed_files.h. THIMBLE_RESEED is the folder of the sources, THIMBLE_RESEED_SO the compiled
// library; they are given by guest-init/init.mk.
#include "tools/image/reseed_files.h"

#include <string_view>

#include "pool/image/files.h"
#include "pool/image/image.h"
#include "pool/image/reseed.h"

// A file of the project as bytes in the program.
#define THIMBLE_EMBED(name, path)                 \
  __asm__(".section .rodata\n" #name              \
          ":\n"                                   \
          ".incbin \"" path "\"\n" #name          \
          "_end:\n"                               \
          ".previous\n");                         \
  extern "C" const char name[];      /* NOLINT */ \
  extern "C" const char name##_end[] /* NOLINT */

THIMBLE_EMBED(thimble_reseed_so, THIMBLE_RESEED_SO);
THIMBLE_EMBED(thimble_reseed_cjs, THIMBLE_RESEED "/renew.cjs");
THIMBLE_EMBED(thimble_compile_ahead_cjs, THIMBLE_RESEED "/compile_ahead.cjs");
THIMBLE_EMBED(thimble_reseed_py, THIMBLE_RESEED "/thimble_renew.py");

namespace thimble::image {

Result<void> add_node_reseed(const Building& building, Manifest& manifest) {
  const std::filesystem::path folder = building.root / kReseedFolder;
  Result<void> done = make_directories(folder);
  if (done) {
    done =
        write_file(folder / "renew.so", std::string_view(thimble_reseed_so, thimble_reseed_so_end));
  }
  if (done) {
    done = write_file(folder / kReseedFile,
                      std::string_view(thimble_reseed_cjs, thimble_reseed_cjs_end));
  }
  if (done) {
    done = write_file(folder / kCompileAheadFile,
                      std::string_view(thimble_compile_ahead_cjs, thimble_compile_ahead_cjs_end));
  }
  manifest.env[kReseedsVariable] = "1";
  manifest.env["LD_PRELOAD"] = std::string("/") + kReseedFolder + "/renew.so";
  manifest.env["NODE_OPTIONS"] = preload(kReseedFile);
  return done;
}

Result<void> add_python_reseed(const Building& building, Manifest& manifest) {
  manifest.env[kReseedsVariable] = "1";
  const std::filesystem::path library = building.root / "usr/lib";
  Result<void> done = write_file(library / "python3.11/thimble_renew.py",
                                 std::string_view(thimble_reseed_py, thimble_reseed_py_end));
  if (done) done = make_directories(library / "python3/dist-packages");
  // The interpreter imports what stands in a .pth file, also when it is isolated (-I).
  if (done) {
    done = write_file(library / "python3/dist-packages/thimble.pth", "import thimble_renew\n");
  }
  return done;
}

}  // namespace thimble::image
