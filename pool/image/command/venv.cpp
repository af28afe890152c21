// See venv.h.
#include "pool/image/command/venv.h"

#include <sstream>

#include "pool/image/command/package_root.h"
#include "pool/image/command/python.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kMaxConfiguration = 1 << 16;

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

void read_configuration(const std::string& text, Venv& venv) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = trimmed(line.substr(0, equals));
    const std::string value = trimmed(line.substr(equals + 1));
    if (key == "home") venv.home = fs::path(value).lexically_normal();
    if (key == "version" || key == "version_info") venv.version = value;
  }
}

fs::path site_packages(const Venv& venv) {
  return venv.root / "lib" / ("python" + std::string(kPythonVersion)) / "site-packages";
}

// A line of a .pth file that is a directory elsewhere: a project installed by reference. Only that
// which the environment itself lies in goes in by its word.
void add_project(const std::string& line, const Places& places, Venv& venv) {
  const fs::path directory = fs::path(line).lexically_normal();
  std::error_code code;
  if (!directory.is_absolute() || is_within(directory, venv.root)) return;
  if (!fs::is_directory(directory, code)) return;
  const fs::path own = project_root(venv.root.parent_path(), places);
  if (!own.empty() && is_within(fs::canonical(directory, code), own)) {
    venv.projects.push_back(own);
  } else {
    venv.notes.push_back(venv.root.string() + " has modules in " + directory.string() +
                         ", which do not go in: name that directory in the command");
  }
}

void read_references(const Places& places, Venv& venv) {
  for (const fs::path& file : list_directory(site_packages(venv))) {
    if (file.extension() != ".pth") continue;
    const Result<std::string> text = read_file(file, kMaxConfiguration);
    if (!text) continue;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      // setuptools finds the project's modules by code of its own.
      if (line.starts_with("import __editable__")) {
        const fs::path own = project_root(venv.root.parent_path(), places);
        if (!own.empty()) venv.projects.push_back(own);
      } else {
        add_project(trimmed(line), places, venv);
      }
    }
  }
}

}  // namespace

std::optional<Venv> find_venv(const fs::path& program, const Places& places) {
  if (program.parent_path().filename() != "bin") return std::nullopt;
  const fs::path folder = program.parent_path().parent_path();
  const Result<std::string> text = read_file(folder / "pyvenv.cfg", kMaxConfiguration);
  std::error_code code;
  if (!text || !fs::exists(fs::symlink_status(program, code))) return std::nullopt;
  Venv venv;
  venv.root = fs::canonical(folder, code);
  if (code) return std::nullopt;
  read_configuration(*text, venv);
  read_references(places, venv);
  return venv;
}

Result<void> check_venv(const Venv& venv) {
  if (is_image_version(venv.version) && venv.home.is_absolute()) return {};
  return fail(venv.root.string() + ": this environment is of python " +
              (venv.version.empty() ? "of no version that it says" : venv.version) +
              ", and images have " + std::string(kPythonVersion) + ": make it anew with python" +
              std::string(kPythonVersion) + " -m venv");
}

fs::path base_python(const Venv& venv) {
  constexpr int kMaxLinks = 8;
  fs::path at = venv.root / "bin/python";
  std::error_code code;
  for (int i = 0; i < kMaxLinks && is_within(at, venv.root); ++i) {
    const fs::path target = fs::read_symlink(at, code);
    if (code) return {};  // a copy of the interpreter
    at = (at.parent_path() / target).lexically_normal();
  }
  const fs::path folder = at.parent_path();
  return folder == "/usr/bin" || folder == "/bin" ? fs::path() : at;
}

bool has_module(const Venv& venv, const std::string& module) {
  // What .pth files and their code add is not looked through.
  return has_module(site_packages(venv), module) || !venv.projects.empty() || !venv.notes.empty();
}

}  // namespace thimble::image
