// Virtual environments of Python (PEP 405): a folder with pyvenv.cfg, whose python has the modules
// that were installed into it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/command/places.h"

namespace thimble::image {

struct Venv {
  std::filesystem::path root;  // true path
  std::string version;         // "3.11.2"; empty: it does not say
  std::filesystem::path home;  // the folder of the interpreter that it was made with
  std::vector<std::filesystem::path> projects;  // installed by reference (pip install -e)
  std::vector<std::string> notes;
};

// The environment that `program` (PATH/bin/NAME) belongs to.
std::optional<Venv> find_venv(const std::filesystem::path& program, const Places& places);

// Fails unless the python of images can take the place of the one that it was made with.
Result<void> check_venv(const Venv& venv);

// The file outside of the environment that its python is a link to, where images have nothing: a
// link of that name to their python takes its place. Empty: none is needed.
std::filesystem::path base_python(const Venv& venv);

// Whether the environment may have a module of that name.
bool has_module(const Venv& venv, const std::string& module);

}  // namespace thimble::image
