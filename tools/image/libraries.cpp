// See libraries.h.
#include "tools/image/libraries.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <set>

#include "pool/image/elf_needs.h"
#include "pool/image/files.h"
#include "tools/image/debian.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxRounds = 16;  // libraries of libraries of …
constexpr const char* kLibraries = "usr/lib/x86_64-linux-gnu";

// Not by the rule of debian_package_of.
struct Exception {
  std::string_view library;
  const char* package;
};
constexpr std::array<Exception, 18> kExceptions = {{
    {"libcrypto.so.3", "libssl3"},
    {"libz.so.1", "zlib1g"},
    {"libglib-2.0.so.0", "libglib2.0-0"},
    {"libgobject-2.0.so.0", "libglib2.0-0"},
    {"libgio-2.0.so.0", "libglib2.0-0"},
    {"libgmodule-2.0.so.0", "libglib2.0-0"},
    {"libgthread-2.0.so.0", "libglib2.0-0"},
    {"libatk-1.0.so.0", "libatk1.0-0"},
    {"libatk-bridge-2.0.so.0", "libatk-bridge2.0-0"},
    {"libatspi.so.0", "libatspi2.0-0"},
    {"libnssutil3.so", "libnss3"},
    {"libsmime3.so", "libnss3"},
    {"libssl3.so", "libnss3"},
    {"libplc4.so", "libnspr4"},
    {"libplds4.so", "libnspr4"},
    {"libdb-5.3.so", "libdb5.3"},
    {"libjpeg.so.62", "libjpeg62-turbo"},
    {"libgcc_s.so.1", "libgcc-s1"},
}};

// What programs open by name when they run, so that no header says it.
struct Opened {
  std::string_view text;
  const char* package;
};
constexpr std::array<Opened, 2> kOpened = {{
    {"libicuuc.so", "libicu72"},  // .NET, for cultures
    {"libssl.so.3", "libssl3"},   // .NET and others, for TLS
}};

// Looks for each text of kOpened in all of a file.
void find_opened(const fs::path& file, const std::string& name, LibraryNeeds& needs) {
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  constexpr std::size_t kOverlap = 16;  // longer than any of the texts
  const Descriptor open(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::string chunk(kChunk + kOverlap, '\0');
  std::size_t kept = 0;
  for (;;) {
    const ssize_t count = ::read(open.get(), chunk.data() + kept, kChunk);
    if (count <= 0) return;
    const std::size_t size = kept + static_cast<std::size_t>(count);
    const std::string_view seen(chunk.data(), size);
    for (const Opened& opened : kOpened) {
      if (seen.find(opened.text) != std::string_view::npos) {
        needs.packages.try_emplace(opened.package, name);
      }
    }
    kept = std::min(size, kOverlap);
    chunk.replace(0, kept, chunk, size - kept, kept);
  }
}

// What the loader takes "$ORIGIN/../lib" for, when it stays in the tree.
fs::path expand_origin(const std::string& folder, const fs::path& origin, const fs::path& tree) {
  for (const std::string_view name : {"$ORIGIN", "${ORIGIN}"}) {
    if (!folder.starts_with(name)) continue;
    const fs::path path = (origin.string() + folder.substr(name.size()));
    const fs::path normal = path.lexically_normal();
    if (is_within(normal, tree)) return normal;
  }
  return {};
}

struct Asking {
  ElfNeeds needs;
  fs::path file;
};

// In the folders that the file names, or beside it, where programs look that load it by its path.
bool finds_itself(const Asking& asking, const std::string& library, const fs::path& tree) {
  std::error_code code;
  if (fs::exists(asking.file.parent_path() / library, code)) return true;
  return std::ranges::any_of(asking.needs.search, [&](const std::string& folder) {
    const fs::path place = expand_origin(folder, asking.file.parent_path(), tree);
    return !place.empty() && fs::exists(place / library, code);
  });
}

bool has_library(const fs::path& root, const std::string& library) {
  std::error_code code;
  return std::ranges::any_of(std::array{kLibraries, "usr/lib", "usr/lib64"},
                             [&](const char* at) { return fs::exists(root / at / library, code); });
}

// The rounds of add_libraries.
class Adding {
 public:
  Adding(Building& building, const LibraryNeeds& needs) : building_(building), needs_(needs) {}

  Result<void> run() {
    for (const auto& [package, asked_by] : needs_.packages) wanted_packages_.insert(package);
    std::map<std::string, std::string> wanted = needs_.libraries;
    for (int round = 0; round < kMaxRounds; ++round) {
      if (Result<void> added = add_packages_of(wanted); !added) return added;
      wanted = take_what_came(wanted);
      if (wanted.empty()) break;
    }
    return {};
  }

 private:
  // Downloads what `wanted` is in, as far as it is not there and Debian has it.
  Result<void> add_packages_of(const std::map<std::string, std::string>& wanted) {
    for (const auto& [library, asked_by] : wanted) {
      if (!has_library(building_.root, library) && is_plain_soname(library)) {
        wanted_packages_.insert(debian_package_of(library));
      }
    }
    std::vector<std::string> fresh;
    for (const std::string& package : wanted_packages_) {
      const bool there = building_.inputs["debian"].contains(package);
      if (!there && tried_.insert(package).second) fresh.push_back(package);
    }
    wanted_packages_.clear();
    const std::vector<std::string> known = debian_knows(fresh);
    if (known.empty()) return {};
    std::string names;
    for (const std::string& package : known) names += " " + package;
    building_.progress("downloading libraries from Debian:" + names);
    return unpack_debian(building_, known, building_.root);
  }

  // Says what is missing still, and returns what the others need.
  std::map<std::string, std::string> take_what_came(
      const std::map<std::string, std::string>& wanted) {
    std::map<std::string, std::string> next;
    for (const auto& [library, asked_by] : wanted) {
      if (!seen_.insert(library).second) continue;
      if (!has_library(building_.root, library)) {
        if (!needs_.brought.contains(library)) say_missing(library, asked_by);
        continue;
      }
      // Links between names of one library are Debian's own.
      std::error_code code;
      const fs::path file = fs::canonical(building_.root / kLibraries / library, code);
      if (code || !is_within(file, building_.root)) continue;
      for (const std::string& needed : read_elf_needs(file).needed) next[needed] = library;
    }
    return next;
  }

  void say_missing(const std::string& library, const std::string& asked_by) {
    building_.inputs["missing_libraries"][library] = asked_by;
    building_.progress("note: " + asked_by + " needs " + library +
                       ", which Debian does not have: what uses it will not work");
  }

  Building& building_;
  const LibraryNeeds& needs_;
  std::set<std::string> wanted_packages_;
  std::set<std::string> tried_;
  std::set<std::string> seen_;
};

}  // namespace

LibraryNeeds collect_needs(const fs::path& tree) {
  LibraryNeeds needs;
  std::vector<Asking> all;
  std::error_code code;
  for (fs::recursive_directory_iterator it(tree, code), end; !code && it != end;
       it.increment(code)) {
    std::error_code ignored;
    if (it->symlink_status(ignored).type() != fs::file_type::regular) continue;
    ElfNeeds read = read_elf_needs(it->path());
    if (read.kind != ElfNeeds::Kind::kGlibc) continue;
    const std::string name = it->path().lexically_relative(tree).string();
    find_opened(it->path(), name, needs);
    needs.brought.insert(it->path().filename().string());
    if (!read.soname.empty()) needs.brought.insert(read.soname);
    if (!read.needed.empty()) all.push_back({std::move(read), it->path()});
  }
  for (const Asking& asking : all) {
    const std::string name = asking.file.lexically_relative(tree).string();
    for (const std::string& library : asking.needs.needed) {
      const bool path = library.find('/') != std::string::npos;
      if (path || finds_itself(asking, library, tree)) continue;
      needs.libraries.try_emplace(library, name);
    }
  }
  return needs;
}

Result<void> add_libraries(Building& building, const LibraryNeeds& needs) {
  return Adding(building, needs).run();
}

// Debian policy 8.1: the name without ".so", a dash where digits would meet.
std::string debian_package_of(const std::string& soname) {
  for (const Exception& exception : kExceptions) {
    if (soname == exception.library) return exception.package;
  }
  const std::size_t suffix = soname.find(".so");
  std::string name = soname.substr(0, suffix);
  std::string version =
      suffix == std::string::npos || suffix + 4 > soname.size() ? "" : soname.substr(suffix + 4);
  if (name.starts_with("libicu")) name = "libicu";
  const bool digits_meet = !name.empty() && std::isdigit(static_cast<unsigned char>(name.back()));
  std::string package = name + (digits_meet && !version.empty() ? "-" : "") + version;
  for (char& c : package) {
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return package;
}

}  // namespace thimble::image
