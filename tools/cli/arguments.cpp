// See arguments.h.
#include "tools/cli/arguments.h"

#include <algorithm>

#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

// Whether the word is an option of `app` whose value is the next word.
bool takes_next_word(const CLI::App& app, const std::string& word) {
  const bool is_long = word.rfind("--", 0) == 0;
  if (is_long && word.find('=') != std::string::npos) return false;
  if (!is_long && word.size() > 2) return false;  // -eK=V
  const CLI::Option* option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

// CLI11's own usage line knows nothing of the command that follows the options.
class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string usage) : usage_(std::move(usage)) {}
  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
    return "Usage: " + usage_ + "\n";
  }

 private:
  std::string usage_;
};

}  // namespace

void set_usage(CLI::App& app, std::string usage) {
  app.formatter(std::make_shared<UsageFormatter>(std::move(usage)));
}

SplitArguments split_command(const CLI::App& app, const Arguments& arguments) {
  SplitArguments out;
  size_t at = 0;
  while (at < arguments.size()) {
    const std::string& word = arguments[at];
    if (word == "--") {
      ++at;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    out.options.push_back(word);
    ++at;
    if (takes_next_word(app, word) && at < arguments.size()) out.options.push_back(arguments[at++]);
  }
  out.command.assign(arguments.begin() + static_cast<ptrdiff_t>(at), arguments.end());
  return out;
}

std::optional<int> parse_options(CLI::App& app, const Arguments& options) {
  try {
    Arguments reversed(options.rbegin(), options.rend());  // as CLI11 wants them
    app.parse(std::move(reversed));
  } catch (const CLI::Success& done) {
    return app.exit(done);  // --help, --version: on stdout
  } catch (const CLI::ExtrasError&) {
    const auto extras = app.remaining();
    const std::string first = extras.empty() ? "" : extras.front();
    const bool option = !first.empty() && first[0] == '-';
    return usage_error(app.get_name(), (option ? "unknown option " : "unexpected word ") + first);
  } catch (const CLI::Error& error) {
    return usage_error(app.get_name(), error.what());
  }
  return std::nullopt;
}

int usage_error(const std::string& subcommand, const std::string& message) {
  say(message + " (see " + subcommand + " --help)");
  return kExitUsage;
}

}  // namespace thimble::cli
