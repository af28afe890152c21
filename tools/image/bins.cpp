// See bins.h.
#include "tools/image/bins.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "pool/image/command/env_command.h"
#include "pool/image/command/words.h"
#include "pool/image/elf_needs.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kHead = 4096;

Result<std::string> head_of(const Descriptor& file) {
  std::string head(kHead, '\0');
  const ssize_t count = ::pread(file.get(), head.data(), head.size(), 0);
  if (count < 0) return fail_errno("its file cannot be read");
  head.resize(static_cast<std::size_t>(count));
  return head;
}

Result<Words> by_first_line(std::string_view line, const std::string& guest_file) {
  if (line.find_first_of("'\"\\$") != std::string_view::npos) {
    return fail("its first line has quotes, which are not understood here");
  }
  Words words = split_at_blanks(line);
  Result<Words> env = take_env_command(words);
  if (!env) return fail("its first line: " + env.error().message);
  const std::string program = words.empty() ? "env" : fs::path(words[0]).filename().string();
  if (program == "env") return fail("its first line names no program");
  if (program == "node" || program == "nodejs") {
    words[0] = "node";
  } else if (program == "sh" || program == "dash" || program == "ash") {
    words[0] = "/bin/sh";
  } else if (program == "bash") {
    words[0] = "/bin/bash";
  } else {
    return fail("it is written for '" + program + "', which is not in a node image");
  }
  words.insert(words.begin(), env->begin(), env->end());
  words.push_back(guest_file);
  return words;
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
