// Command lines: `thimble SUBCOMMAND [options] [--] CMD ARGS…`. CLI11 parses the options; CMD and
// what follows belong to the user's command and are never looked at, whatever they are.
//
// Only options.cpp includes CLI11: each file that does brings a set of static objects with it,
// which would be made anew at every start of the program.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace thimble::cli {

using Arguments = std::vector<std::string>;

// Statuses of the command line itself.
constexpr int kExitUsage = 2;

struct SplitArguments {
  Arguments options;
  Arguments command;
};

// An option that was just added, to say more of it. Its Options own it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  Option& one_of(std::initializer_list<const char*> values);
  Option& between(unsigned min, unsigned max);
  // How many words it takes each time.
  Option& words(int min, int max);
  // --help shows the value that the variable has already.
  Option& show_default();

 private:
  CLI::Option* option_;
};

// The options of a subcommand, each with the variable that it fills, which outlives them.
class Options {
 public:
  // `name` as the user writes it: "thimble run". `about`: the first line of --help.
  explicit Options(const std::string& name, const std::string& about = "");
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  ~Options();

  // `names`: "-e,--env"; without dashes the place of a word.
  Option add(const char* names, std::string& value, const char* help);
  Option add(const char* names, uint32_t& value, const char* help);
  Option add(const char* names, uint64_t& value, const char* help);
  // May be given several times, and takes a word each time.
  Option add(const char* names, std::vector<std::string>& values, const char* help);
  // "!--no-x" sets `value` to false.
  void add_flag(const char* names, bool& value, const char* help);
  // May have a value, as in --debug=FILE; without one it gets `otherwise`.
  void add_flag(const char* name, std::string& value, const char* otherwise, const char* help);

  // What a release before called `option`: goes on, with a note on stderr.
  void add_earlier(const std::string& name, const std::string& option);

  // The line that --help shows after "Usage: ", and the text at its end.
  void set_usage(std::string usage);
  void set_footer(const std::string& footer);

  [[nodiscard]] const std::string& name() const { return name_; }

  // The command begins after "--", or at the first word that is neither an option nor the value of
  // one.
  [[nodiscard]] SplitArguments split(const Arguments& arguments) const;

  // Parses options (without the program's name). A status, when the program is to end with it: help
  // was printed to stdout, or one line about the mistake to stderr.
  std::optional<int> parse(const Arguments& options);

 private:
  [[nodiscard]] bool takes_next_word(const std::string& word) const;
  [[nodiscard]] std::string by_its_name(const std::string& word) const;

  std::string name_;
  std::unique_ptr<CLI::App> app_;
  std::map<std::string, std::string> earlier_;  // names, and what is called so now
};

// Words of a command line; quotes keep some together.
Arguments split_words(const std::string& line);

// Whether one of the first two words is -h or --help: for subcommands without Options. What comes
// later may be a CMD's.
bool asks_for_help(const Arguments& arguments);

// One line about a mistake in the command line of `subcommand`; the status to end with.
int usage_error(const std::string& subcommand, const std::string& message);

}  // namespace thimble::cli
