// See bins.h.
#include "tools/image/bins.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tools/image/elf_needs.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

constexpr std::size_t kHead = 4096;

Result<std::string> head_of(const Descriptor& file) {
  std::string head(kHead, '\0');
  const ssize_t count = ::pread(file.get(), head.data(), head.size(), 0);
  if (count < 0) return fail_errno("its file cannot be read");
  head.resize(static_cast<std::size_t>(count));
  return head;
}

Words split(std::string_view line) {
  Words result;
  while (!line.empty()) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    if (end > 0) result.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
  return result;
}

// Takes "env -S VAR=1" off the front of a hash-bang line; `settings` gets what env has to do.
Result<void> take_env(Words& words, Words& settings) {
  words.erase(words.begin());
  while (!words.empty()) {
    std::string& word = words.front();
    if (word == "-S" || word == "--split-string") {
      words.erase(words.begin());
      continue;
    }
    for (const std::string_view glued : {"-S", "--split-string="}) {
      if (word.starts_with(glued)) word.erase(0, glued.size());
    }
    const bool setting = word == "-i" || word.find('=') != std::string::npos;
    if (!setting && word.starts_with('-')) return fail("it wants env's option " + word);
    if (!setting) return {};
    settings.push_back(std::move(word));
    words.erase(words.begin());
  }
  return fail("its first line names no program");
}

Result<Words> by_first_line(std::string_view line, const std::string& guest_file) {
  if (line.find_first_of("'\"\\$") != std::string_view::npos) {
    return fail("its first line has quotes, which are not understood here");
  }
  Words words = split(line);
  if (words.empty()) return fail("its first line names no program");
  Words argv;
  if (fs::path(words[0]).filename() == "env") {
    if (Result<void> taken = take_env(words, argv); !taken) return std::unexpected(taken.error());
    if (!argv.empty()) argv.insert(argv.begin(), "env");
  }
  const std::string program = fs::path(words[0]).filename().string();
  if (program == "node" || program == "nodejs") {
    words[0] = "node";
  } else if (program == "sh" || program == "dash" || program == "ash") {
    words[0] = "/bin/sh";
  } else if (program == "bash") {
    words[0] = "/bin/bash";
  } else {
    return fail("it is written for '" + program + "', which is not in a node image");
  }
  argv.insert(argv.end(), words.begin(), words.end());
  argv.push_back(guest_file);
  return argv;
}

Result<Words> by_elf(const Descriptor& file, const std::string& guest_file) {
  switch (read_elf_needs(file).kind) {
    case ElfNeeds::Kind::kGlibc:
      return Words{guest_file};
    case ElfNeeds::Kind::kMusl:
      return fail("it is a program for musl, which is not in a node image");
    case ElfNeeds::Kind::kForeign:
      return fail("it is a program for another kind of processor");
    case ElfNeeds::Kind::kNone:
      break;
  }
  return fail("it is a damaged program");
}

bool is_script(const std::string& extension) {
  return extension == ".js" || extension == ".mjs" || extension == ".cjs";
}

}  // namespace

Result<Words> command_of_bin(const Folder& package, const std::string& file,
                             const std::string& guest_file) {
  const Result<Descriptor> open = package.open_regular(file);
  if (!open) return fail("it has no file in the package");
  const Result<std::string> head = head_of(*open);
  if (!head) return std::unexpected(head.error());
  if (head->starts_with("\177ELF")) return by_elf(*open, guest_file);
  if (head->starts_with("#!")) {
    const std::string_view rest = std::string_view(*head).substr(2);
    return by_first_line(rest.substr(0, rest.find('\n')), guest_file);
  }
  // A shell reads a file that has no such line itself; a JavaScript file was meant for node.
  if (is_script(fs::path(file).extension().string())) return Words{"node", guest_file};
  if (head->find('\0') != std::string::npos) {
    return fail("it is neither a script nor a program for Linux");
  }
  return Words{"/bin/sh", guest_file};
}

}  // namespace thimble::image
