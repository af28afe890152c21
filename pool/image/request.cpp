// Parsing of package specifications and image names.
#include "pool/image/request.h"

#include <algorithm>
#include <array>

namespace thimble::image {
namespace {

constexpr std::size_t kMaxPackageName = 214;  // the npm registry's own limit
constexpr std::size_t kMaxRange = 128;
constexpr std::size_t kMaxImageName = 64;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// One half of a package name: may not look like an option, a hidden file or a path.
bool is_name_part(std::string_view part) {
  const bool begins_well = !part.empty() && (is_alphanumeric(part[0]) || part[0] == '~');
  if (!begins_well) return false;
  return std::ranges::all_of(part, [](char c) {
    return is_alphanumeric(c) || c == '.' || c == '_' || c == '-' || c == '~';
  });
}

bool is_package_name(std::string_view name) {
  if (name.size() > kMaxPackageName) return false;
  if (!name.starts_with('@')) return is_name_part(name);
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos) return false;
  return is_name_part(name.substr(1, slash - 1)) && is_name_part(name.substr(slash + 1));
}

bool is_range(std::string_view range) {
  if (range.empty() || range.size() > kMaxRange || range[0] == '-') return false;
  return std::ranges::all_of(range, [](char c) {
    return is_alphanumeric(c) || std::string_view(".^~*+<>=| -_").contains(c);
  });
}

std::string shown(std::string_view text) {
  std::string text_shown = "'";
  for (const char c : text.substr(0, 120)) text_shown += (c >= ' ' && c < 127) ? c : '?';
  return text_shown + (text.size() > 120 ? "…'" : "'");
}

}  // namespace

Result<NpmSpec> parse_npm_spec(std::string_view text) {
  const std::size_t at = text.find('@', text.starts_with('@') ? 1 : 0);
  const std::string_view name = text.substr(0, at);
  const std::string_view range =
      at == std::string_view::npos ? std::string_view("latest") : text.substr(at + 1);
  const bool foreign = text.find(':') != std::string_view::npos ||
                       (!text.starts_with('@') && text.find('/') != std::string_view::npos) ||
                       range.find('/') != std::string_view::npos;
  if (foreign) {
    return fail("npm package " + shown(text) +
                ": only packages of the registry are supported (NAME[@VERSION]), not git, URLs, "
                "files or aliases: install it yourself and use `thimble image build DIR`");
  }
  if (!is_package_name(name)) {
    return fail("npm package " + shown(text) +
                ": not a package name: give NAME[@VERSION] or @SCOPE/NAME[@VERSION]");
  }
  if (!is_range(range)) {
    return fail("npm package " + shown(text) +
                ": not a version: give a version, a range such as ^1.2 or a tag after the @");
  }
  return NpmSpec{std::string(name), std::string(range)};
}

bool is_exact(const NpmSpec& spec) {
  // "1.2.3", "1.2.3-beta.1": three numbers and nothing that opens a range.
  const std::string_view core = std::string_view(spec.range).substr(0, spec.range.find('-'));
  const bool plain = !core.empty() && std::ranges::all_of(core, [](char c) {
    return c == '.' || (c >= '0' && c <= '9');
  });
  return plain && std::ranges::count(core, '.') == 2 && core.find("..") == std::string_view::npos &&
         core.front() != '.' && core.back() != '.' &&
         spec.range.find_first_of(" |") == std::string::npos;
}

bool is_recipe(std::string_view name) {
  constexpr std::array<std::string_view, 3> kRecipes = {"busybox", "node", "python"};
  return std::ranges::find(kRecipes, name) != kRecipes.end();
}

Result<Request> request_recipe(std::string_view recipe) {
  if (!is_recipe(recipe)) {
    return fail("recipe " + shown(recipe) + ": there are node, python and busybox");
  }
  Request request;
  request.kind = Request::Kind::kRecipe;
  request.name = recipe;
  return request;
}

Result<Request> request_npm(std::string_view spec) {
  Result<NpmSpec> npm = parse_npm_spec(spec);
  if (!npm) return std::unexpected(npm.error());
  Request request;
  request.kind = Request::Kind::kNpm;
  request.name = "npm:" + npm->name + "@" + npm->range;
  request.npm = std::move(*npm);
  return request;
}

Result<Request> request_directory(const std::filesystem::path& directory, std::string name) {
  std::error_code code;
  if (!std::filesystem::is_directory(directory, code)) {
    const bool path = directory.has_parent_path() || std::filesystem::exists(directory, code);
    return fail("image from " + shown(directory.string()) + ": not a directory" +
                (path ? ""
                      : ", and no recipe: for a package of npm write npm:" + directory.string() +
                            ", else recipe node, python or busybox"));
  }
  if (const Result<void> valid = check_image_name(name); !valid) {
    return std::unexpected(valid.error());
  }
  if (is_recipe(name)) {
    return fail("image name " + shown(name) + ": is a recipe's: choose another with --name");
  }
  Request request;
  request.kind = Request::Kind::kDirectory;
  request.path = std::filesystem::canonical(directory, code);
  if (code) return fail("image from " + shown(directory.string()) + ": " + code.message());
  request.name = std::move(name);
  return request;
}

Result<Request> request_image(std::string_view text, const std::filesystem::path& cwd) {
  if (text.starts_with("npm:")) return request_npm(text.substr(4));
  if (is_recipe(text)) return request_recipe(text);
  if (text.empty()) return fail("image: the name is empty: `thimble image ls` shows what there is");
  Request request;
  if (text.find('/') != std::string_view::npos || text.ends_with(".erofs")) {
    request.kind = Request::Kind::kFile;
    request.path = (cwd / text).lexically_normal();
    request.name = request.path.string();
    return request;
  }
  request.kind = Request::Kind::kNamed;
  request.name = text;
  return request;
}

Result<void> check_image_name(std::string_view name) {
  const bool valid = !name.empty() && name.size() <= kMaxImageName && name[0] != '.' &&
                     name[0] != '-' && std::ranges::all_of(name, [](char c) {
                       return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
                     });
  if (valid) return {};
  return fail("image name " + shown(name) +
              ": use letters, digits, '.', '_' and '-', at most 64, not led by '.' or '-'");
}

}  // namespace thimble::image
