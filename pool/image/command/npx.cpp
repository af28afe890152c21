// See npx.h.
#include "pool/image/command/npx.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "devices/foreign_json.h"
#include "pool/image/command/words.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// They change what npm says or asks, where it keeps things, or how long it tries.
bool is_harmless_flag(std::string_view name) {
  constexpr std::array<std::string_view, 29> kFlags = {"-q",
                                                       "--quiet",
                                                       "-s",
                                                       "--silent",
                                                       "-d",
                                                       "-dd",
                                                       "-ddd",
                                                       "--verbose",
                                                       "--offline",
                                                       "--audit",
                                                       "--no-audit",
                                                       "--fund",
                                                       "--no-fund",
                                                       "--progress",
                                                       "--color",
                                                       "--no-color",
                                                       "--no-progress",
                                                       "--ignore-scripts",
                                                       "--ignore-existing",
                                                       "--prefer-offline",
                                                       "--no-package-lock",
                                                       "--update-notifier",
                                                       "--no-update-notifier",
                                                       "--no-save",
                                                       "--legacy-peer-deps",
                                                       "--foreground-scripts",
                                                       "--no-bin-links",
                                                       "--no-ignore-scripts",
                                                       "--no-prefer-online"};
  return is_one_of(kFlags, name);
}

bool is_harmless_value(std::string_view name) {
  constexpr std::array<std::string_view, 7> kValues = {"--loglevel",
                                                       "--cache",
                                                       "--fetch-timeout",
                                                       "--fetch-retries",
                                                       "--fetch-retry-mintimeout",
                                                       "--fetch-retry-maxtimeout",
                                                       "--shell"};
  return is_one_of(kValues, name);
}

// Characters that make a shell of it: -c is taken only when it is words and nothing else.
bool needs_a_shell(const std::string& line) {
  return line.find_first_of("|&;<>()$`\\\"'*?[]#~%{}\n!") != std::string::npos;
}

class Parser {
 public:
  Parser(const Words& words, NpxForm form)
      : words_(words), form_(form), tool_(form == NpxForm::kNpx ? "npx" : "npm exec") {}

  Result<NpxCall> run() {
    for (; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      if (word == "--") {
        ++at_;
        break;
      }
      if (word.size() < 2 || word[0] != '-') {
        if (form_ == NpxForm::kNpx) break;
        positional_.push_back(word);
      } else if (Result<void> taken = take_option(word); !taken) {
        return std::unexpected(taken.error());
      }
    }
    for (; at_ < words_.size(); ++at_) positional_.push_back(words_[at_]);
    return finish();
  }

 private:
  Result<void> take_option(const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (is_harmless_flag(name)) return {};
    if (name == "-y" || name == "--yes") {
      call_.local_only = value == "false";
    } else if (name == "--no" || name == "--no-install" || name == "--no-yes") {
      call_.local_only = value != "false";
    } else if (name == "--prefer-online") {
      call_.resolve_now = value != "false";
    } else if (name == "-p" || name == "--package") {
      return take_value(word, equals, call_.package, "two packages: only one can be in an image");
    } else if (name == "-c" || name == "--call") {
      return take_value(word, equals, line_, "two commands by -c");
    } else if (is_harmless_value(name)) {
      std::string ignored;
      return take_value(word, equals, ignored, "");
    } else {
      const bool late = !positional_.empty();
      return fail(tool_ + " option " + name + ": is not known here: " +
                  (late ? "write -- before the options of " + positional_.front()
                        : "write npx [-y] [-p PACKAGE] COMMAND ARGS…; settings such as --registry "
                          "go into ~/.npmrc"));
    }
    return {};
  }

  Result<void> take_value(const std::string& word, std::size_t equals, std::string& to,
                          const char* twice) {
    if (!to.empty()) return fail(tool_ + ": " + twice);
    if (equals == std::string::npos && at_ + 1 == words_.size()) {
      return fail(tool_ + ": " + word + " needs a word after it");
    }
    to = equals == std::string::npos ? words_[++at_] : word.substr(equals + 1);
    return {};
  }

  Result<NpxCall> finish() {
    if (!line_.empty()) {
      if (call_.package.empty()) {
        return fail(tool_ + " -c: of which package? write -p PACKAGE -c COMMAND");
      }
      if (needs_a_shell(line_)) {
        return fail(tool_ +
                    " -c: needs a shell: write the command's words without -c, or name a "
                    "script of yours");
      }
      Words words;
      for (std::size_t i = 0; i < line_.size();) {
        const std::size_t end = std::min(line_.find_first_of(" \t", i), line_.size());
        if (end > i) words.push_back(line_.substr(i, end - i));
        i = end + 1;
      }
      positional_.insert(positional_.begin(), words.begin(), words.end());
    }
    if (positional_.empty()) {
      return fail(tool_ + ": which package? write npx [-y] PACKAGE ARGS…");
    }
    (call_.package.empty() ? call_.package : call_.command) = positional_.front();
    call_.arguments.assign(positional_.begin() + 1, positional_.end());
    return std::move(call_);
  }

  const Words& words_;
  NpxForm form_;
  std::string tool_;
  std::size_t at_ = 0;
  std::string line_;  // of -c
  Words positional_;
  NpxCall call_;
};

// npm's "local prefix".
fs::path project_around(const fs::path& cwd) {
  std::error_code code;
  for (fs::path at = cwd; at != at.root_path(); at = at.parent_path()) {
    if (fs::exists(at / "package.json", code) || fs::is_directory(at / "node_modules", code)) {
      return at;
    }
  }
  return {};
}

// The file of the command that is called like the package, or of its only one.
std::string own_bin(const fs::path& folder, const std::string& short_name) {
  const Result<std::string> text = read_file(folder / "package.json", 1 << 20);
  const nlohmann::json package = text ? read_foreign_json(*text) : nullptr;
  if (!package.is_object()) return {};
  const auto bin = package.find("bin");
  if (bin == package.end()) return {};
  if (bin->is_string()) return bin->get<std::string>();
  if (!bin->is_object() || bin->empty()) return {};
  const auto named = bin->find(short_name);
  const auto& chosen = named != bin->end() ? *named : bin->front();
  const bool clear = named != bin->end() || bin->size() == 1;
  return clear && chosen.is_string() ? chosen.get<std::string>() : std::string();
}

}  // namespace

Result<NpxCall> parse_npx(const Words& words, NpxForm form) { return Parser(words, form).run(); }

fs::path local_command(const std::string& package, const fs::path& cwd) {
  const std::size_t slash = package.find('/');
  const bool scoped = package.starts_with('@');
  const bool plain =
      !package.empty() && package[0] != '.' && package[0] != '/' &&
      package.find('@', 1) == std::string::npos && package.find(':') == std::string::npos &&
      (scoped ? slash != std::string::npos && package.find('/', slash + 1) == std::string::npos
              : slash == std::string::npos) &&
      package.find("..") == std::string::npos;
  if (!plain) return {};
  const fs::path project = project_around(cwd);
  if (project.empty()) return {};
  const fs::path modules = project / "node_modules";
  std::error_code code;
  if (!scoped && fs::is_regular_file(modules / ".bin" / package, code)) {
    return modules / ".bin" / package;
  }
  const std::string bin = own_bin(modules / package, scoped ? package.substr(slash + 1) : package);
  if (bin.empty()) return {};
  fs::path file = (modules / package / bin).lexically_normal();
  const bool inside = is_within(file, modules / package) && fs::is_regular_file(file, code);
  return inside ? file : fs::path();
}

}  // namespace thimble::image
