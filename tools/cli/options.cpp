// See options.h.
#include "tools/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

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

// CLI11's words for a mistake begin with the option or hold "is required"; its other words are for
// those who know CLI11.
std::string in_our_words(const CLI::Error& error) {
  std::string words = error.what();
  const std::string name = error.get_name();
  const std::string option = words.substr(0, words.find(':'));
  if (name == "RequiredError") return words.substr(0, words.find(" is required")) + " is missing";
  if (name == "ArgumentMismatch") return option + ": it needs another number of values";
  if (name == "ConversionError") {
    const size_t value = words.find(" = ");
    const std::string what = words.substr(words.find(": ") + 2);
    if (value != std::string::npos) return what + ": this is no value for it";
  }
  return words;
}

}  // namespace

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::one_of(std::initializer_list<const char*> values) {
  option_->check(CLI::IsMember(std::vector<std::string>(values.begin(), values.end())));
  return *this;
}

Option& Option::between(unsigned min, unsigned max) {
  option_->check(CLI::Range(min, max));
  return *this;
}

Option& Option::words(int min, int max) {
  option_->expected(min, max);
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Options::Options(const std::string& name, const std::string& about)
    : name_(name), app_(std::make_unique<CLI::App>(about, name)) {}

Options::~Options() = default;

Option Options::add(const char* names, std::string& value, const char* help) {
  return Option(app_->add_option(names, value, help));
}

Option Options::add(const char* names, uint32_t& value, const char* help) {
  return Option(app_->add_option(names, value, help));
}

Option Options::add(const char* names, uint64_t& value, const char* help) {
  return Option(app_->add_option(names, value, help));
}

Option Options::add(const char* names, std::vector<std::string>& values, const char* help) {
  CLI::Option* option = app_->add_option(names, values, help);
  return Option(names[0] == '-' ? option->allow_extra_args(false) : option);
}

void Options::add_flag(const char* names, bool& value, const char* help) {
  app_->add_flag(names, value, help);
}

void Options::add_flag(const char* name, std::string& value, const char* otherwise,
                       const char* help) {
  app_->add_flag(std::string(name) + "{" + otherwise + "}", value, help);
}

void Options::add_earlier(const std::string& name, const std::string& option) {
  earlier_.emplace(name, option);
}

// The word as it is written now, after the note.
std::string Options::by_its_name(const std::string& word) const {
  const size_t end = std::min(word.find('='), word.size());
  const auto earlier = earlier_.find(word.substr(0, end));
  if (earlier == earlier_.end()) return word;
  say(earlier->first + " is called " + earlier->second + " now");
  return earlier->second + word.substr(end);
}

void Options::set_usage(std::string usage) {
  app_->formatter(std::make_shared<UsageFormatter>(std::move(usage)));
}

void Options::set_footer(const std::string& footer) { app_->footer(footer); }

// Whether the word is an option whose value is the next word.
bool Options::takes_next_word(const std::string& word) const {
  const bool is_long = word.starts_with("--");
  if (is_long && word.find('=') != std::string::npos) return false;
  if (!is_long && word.size() > 2) return false;  // -eK=V
  const CLI::Option* option = app_->get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

SplitArguments Options::split(const Arguments& arguments) const {
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
    if (takes_next_word(word) && at < arguments.size()) out.options.push_back(arguments[at++]);
  }
  out.command.assign(arguments.begin() + static_cast<ptrdiff_t>(at), arguments.end());
  return out;
}

std::optional<int> Options::parse(const Arguments& options) {
  try {
    Arguments reversed;  // as CLI11 wants them
    std::transform(options.rbegin(), options.rend(), std::back_inserter(reversed),
                   [this](const std::string& word) { return by_its_name(word); });
    app_->parse(std::move(reversed));
  } catch (const CLI::Success& done) {
    return app_->exit(done);  // --help: on stdout
  } catch (const CLI::ExtrasError&) {
    const auto extras = app_->remaining();
    const std::string first = extras.empty() ? "" : extras.front();
    const bool option = first.starts_with('-');
    return usage_error(name_, (option ? "unknown option " : "unexpected word ") + first);
  } catch (const CLI::Error& error) {
    return usage_error(name_, in_our_words(error));
  }
  return std::nullopt;
}

Arguments split_words(const std::string& line) { return CLI::detail::split_up(line); }

bool asks_for_help(const Arguments& arguments) {
  const auto end = arguments.begin() + std::min<std::ptrdiff_t>(std::ssize(arguments), 2);
  return std::any_of(arguments.begin(), end,
                     [](const std::string& word) { return word == "--help" || word == "-h"; });
}

int usage_error(const std::string& subcommand, const std::string& message) {
  say(message + " (see " + subcommand + " --help)");
  return kExitUsage;
}

}  // namespace thimble::cli
