// Three runs of esbuild: find the inputs, bundle the inputs tied to their places, and strip the
// result of comments to look for what would break.
#include "tools/image/bundle.h"

#include <array>

#include "pool/image/files.h"
#include "tools/image/beneath.h"
#include "tools/image/bundle_inputs.h"
#include "tools/image/bundler_report.h"
#include "tools/image/npm.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

bool replace_all(std::string& text, std::string_view from, std::string_view to) {
  bool replaced = false;
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
    replaced = true;
  }
  return replaced;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$';
}

// require.resolve(NAME) wants the path of a file in node_modules, not of what was bundled.
bool redirect_resolves(std::string& text) {
  constexpr std::string_view kCall = "require.resolve(";
  constexpr std::string_view kTied = "__thimble_require.resolve(";
  bool replaced = false;
  for (std::size_t at = 0; (at = text.find(kCall, at)) != std::string::npos;) {
    if (at > 0 && (is_word(text[at - 1]) || text[at - 1] == '.')) {
      at += kCall.size();
      continue;
    }
    text.replace(at, kCall.size(), kTied);
    at += kTied.size();
    replaced = true;
  }
  return replaced;
}

// require(EXPRESSION), where esbuild cannot know the file.
bool redirect_computed_requires(std::string& text) {
  constexpr std::string_view kCall = "require(";
  constexpr std::string_view kTied = "__thimble_require(";
  bool replaced = false;
  for (std::size_t at = 0; (at = text.find(kCall, at)) != std::string::npos;) {
    const std::size_t argument = text.find_first_not_of(" \t\r\n", at + kCall.size());
    const char first = argument == std::string::npos ? ')' : text[argument];
    const bool inside_word = at > 0 && (is_word(text[at - 1]) || text[at - 1] == '.');
    if (inside_word || first == '"' || first == '\'' || first == '`' || first == ')') {
      at += kCall.size();
      continue;
    }
    text.replace(at, kCall.size(), kTied);
    at += kTied.size();
    replaced = true;
  }
  return replaced;
}

// Where declarations may be put: after a hash-bang line and "use strict", before all else.
std::size_t place_for_declarations(const std::string& text, std::string& directive) {
  std::size_t at = 0;
  if (text.starts_with("#!")) at = std::min(text.find('\n'), text.size() - 1) + 1;
  const std::size_t first = text.find_first_not_of(" \t\r\n", at);
  for (const char* strict : {"\"use strict\"", "'use strict'"}) {
    if (first != std::string::npos && text.compare(first, 12, strict) == 0) {
      directive = "\"use strict\";";
    }
  }
  return at;
}

class Bundler {
 public:
  Bundler(fs::path esbuild, fs::path app, std::string entry, std::string guest_app, fs::path work)
      : esbuild_(std::move(esbuild)),
        app_(std::move(app)),
        entry_(std::move(entry)),
        guest_app_(std::move(guest_app)),
        work_(std::move(work)) {}

  // Empty on success, else why there is no bundle.
  std::string run(std::string& file) {
    BundleInputs inputs;
    if (std::string refusal = find_inputs(inputs); !refusal.empty()) return refusal;
    if (const Result<void> tied = make_tied_copy(inputs); !tied) return tied.error().message;
    file = inputs.entry_is_module ? "bundle.mjs" : "bundle.cjs";
    if (std::string refusal = bundle(inputs, file); !refusal.empty()) return refusal;
    std::string refusal = inspect(file);
    return refusal.empty() ? keep(file) : refusal;
  }

 private:
  // Runs esbuild; what it says may be a reason not to trust the result.
  std::string esbuild(const fs::path& cwd, std::vector<std::string> arguments) const {
    Command command{.argv = {esbuild_.string()}, .cwd = cwd, .env = {{"NO_COLOR", "1"}}};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.argv.emplace_back("--log-level=warning");
    const Result<Output> output = run_process(command);
    if (!output) return output.error().message;
    return refuse_report(output->status, output->err);
  }

  // As node resolves: no "module" field or condition, which only bundlers know.
  static std::vector<std::string> bundle_arguments(const fs::path& out, const char* format) {
    return {"--bundle",
            "--platform=node",
            "--target=node22",
            "--conditions=",
            "--main-fields=main",
            "--keep-names",
            "--outfile=" + out.string(),
            std::string("--format=") + format};
  }

  std::string find_inputs(BundleInputs& inputs) const {
    const std::string meta = (work_ / "meta.json").string();
    std::vector<std::string> arguments = bundle_arguments(work_ / "probe.js", "esm");
    arguments.push_back("--metafile=" + meta);
    arguments.push_back("./" + entry_);
    if (std::string refusal = esbuild(app_, arguments); !refusal.empty()) return refusal;
    return read_inputs(meta, inputs);
  }

  std::string read_inputs(const std::string& meta, BundleInputs& inputs) const {
    const Result<std::string> text = read_file(meta);
    if (!text) return text.error().message;
    std::optional<BundleInputs> parsed = parse_metafile(*text, entry_);
    if (!parsed) return "esbuild's list of inputs is damaged";
    inputs = std::move(*parsed);
    return refuse_inputs(inputs);
  }

  Result<void> make_tied_copy(const BundleInputs& inputs) const {
    if (Result<void> linked = link_tree(app_, work_ / "tied"); !linked) return linked;
    const Result<Folder> app = Folder::open(app_);
    if (!app) return std::unexpected(app.error());
    const Result<Folder> copy = Folder::open(work_ / "tied");
    if (!copy) return std::unexpected(copy.error());
    for (const std::string& file : inputs.files) {
      if (file.ends_with(".json")) continue;
      const Result<std::string> text = app->read(file);
      if (!text) return std::unexpected(text.error());
      const bool is_module = std::ranges::find(inputs.modules, file) != inputs.modules.end();
      const std::string tied = tie_to_place(*text, guest_app_ + "/" + file, is_module);
      if (tied == *text) continue;
      // A new file in place of the hard link: the original stays as it is.
      if (Result<void> done = copy->replace(file, tied); !done) return done;
    }
    return {};
  }

  std::string bundle(const BundleInputs& inputs, const std::string& file) const {
    const std::string meta = (work_ / "tied.json").string();
    std::vector<std::string> arguments =
        bundle_arguments(work_ / file, inputs.entry_is_module ? "esm" : "cjs");
    const std::string place = "\"" + guest_app_ + "/" + entry_ + "\"";
    std::string banner = "process.argv[1]=" + place + ";";
    if (inputs.entry_is_module) {
      banner = "import{createRequire as __thimble_create}from\"node:module\";const require=" +
               ("__thimble_create(" + place + ");" + banner);
    }
    arguments.push_back("--banner:js=" + banner);
    arguments.push_back("--metafile=" + meta);
    arguments.push_back("./" + entry_);
    if (std::string refusal = esbuild(work_ / "tied", arguments); !refusal.empty()) return refusal;
    // From another place, "../x" may be another file.
    BundleInputs bundled;
    if (std::string refusal = read_inputs(meta, bundled); !refusal.empty()) return refusal;
    if (bundled.files != inputs.files) return "what it loads depends on where it is";
    return {};
  }

  std::string inspect(const std::string& file) const {
    const fs::path made = work_ / file;
    const fs::path bare = work_ / ("bare" + made.extension().string());
    const std::vector<std::string> arguments = {"--minify-whitespace", "--legal-comments=none",
                                                "--outfile=" + bare.string(), made.string()};
    if (std::string refusal = esbuild(work_, arguments); !refusal.empty()) return refusal;
    const Result<std::string> text = read_file(bare);
    return text ? find_hazard(*text) : text.error().message;
  }

  // Into the application.
  std::string keep(const std::string& file) const {
    const Result<std::string> text = read_file(work_ / file);
    if (!text) return text.error().message;
    const Result<Folder> app = Folder::open(app_);
    if (!app) return app.error().message;
    const Result<void> kept = app->replace(file, *text);
    return kept ? std::string() : kept.error().message;
  }

  fs::path esbuild_;
  fs::path app_;
  std::string entry_;
  std::string guest_app_;
  fs::path work_;
};

bool has_native_addon(const fs::path& app) {
  std::error_code code;
  for (fs::recursive_directory_iterator it(app, code), end; !code && it != end;
       it.increment(code)) {
    if (it->path().extension() == ".node") return true;
  }
  return false;
}

}  // namespace

std::string tie_to_place(std::string text, const std::string& guest_path, bool is_module) {
  const std::string directory = fs::path(guest_path).parent_path().string();
  std::string declarations;
  if (is_module) {
    if (replace_all(text, "import.meta.url", "__thimble_url")) {
      declarations += "const __thimble_url=\"file://" + guest_path + "\";";
    }
    if (replace_all(text, "import.meta.dirname", "__thimble_dirname")) {
      declarations += "const __thimble_dirname=\"" + directory + "\";";
    }
    if (replace_all(text, "import.meta.filename", "__thimble_filename")) {
      declarations += "const __thimble_filename=\"" + guest_path + "\";";
    }
  } else {
    // `var` may be declared again by the file itself.
    if (text.find("__filename") != std::string::npos) {
      declarations += "var __filename=\"" + guest_path + "\";";
    }
    if (text.find("__dirname") != std::string::npos) {
      declarations += "var __dirname=\"" + directory + "\";";
    }
    const bool resolves = redirect_resolves(text);
    if (redirect_computed_requires(text) || resolves) {
      declarations +=
          "var __thimble_require=require(\"module\").createRequire(\"" + guest_path + "\");";
    }
  }
  if (declarations.empty()) return text;
  std::string directive;
  const std::size_t place = place_for_declarations(text, directive);
  return text.insert(place, directive + declarations);
}

std::string find_hazard(std::string_view bundle) {
  // The main-module test, the loader's own tables and names resolved at run time see the bundle
  // where they expect the package.
  constexpr std::array<std::string_view, 7> kHazards = {
      "require.main",       "module.parent", "__require.resolve", "require.cache",
      "require.extensions", "import.meta",   "process.mainModule"};
  for (const std::string_view hazard : kHazards) {
    if (bundle.find(hazard) != std::string_view::npos) {
      return "it uses " + std::string(hazard);
    }
  }
  constexpr std::string_view kImport = "import(";
  for (std::size_t at = 0; (at = bundle.find(kImport, at)) != std::string_view::npos;) {
    const bool inside_word = at > 0 && is_word(bundle[at - 1]);
    at += kImport.size();
    const char first = at < bundle.size() ? bundle[at] : '\0';
    if (!inside_word && first != '"' && first != '\'') return "it uses import() of a computed name";
  }
  return {};
}

Result<Bundle> bundle_entry(Building& building, const fs::path& app, const std::string& entry,
                            const std::string& guest_app) {
  if (!is_plain_path(entry)) return Bundle{{}, "its entry has an unusual name"};
  if (has_native_addon(app)) return Bundle{{}, "a native addon is installed with it"};
  const Result<fs::path> esbuild = pinned_file(building, kEsbuild);
  if (!esbuild) return std::unexpected(esbuild.error());
  const fs::path work = building.work / "bundle";
  if (Result<void> made = make_directories(work); !made) return std::unexpected(made.error());
  Bundle bundle;
  bundle.refusal = Bundler(*esbuild, app, entry, guest_app, work).run(bundle.file);
  if (!bundle.refusal.empty()) bundle.file.clear();
  remove_tree(work);
  return bundle;
}

}  // namespace thimble::image
