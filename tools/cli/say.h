// All that the program itself writes. Foreign text in it (docs/security.md) cannot do more than be
// read: each call of say() and print() is one line, whatever is in it, and JSON is plain ASCII.
// `make lint` lets no other file of the program's write to stdout and stderr.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace thimble::cli {

// "thimble: <line>\n" on stderr, in one write; never on stdout, which belongs to the server. Waits
// at most a moment for a stderr that nobody reads, then drops the line.
void say(std::string_view line);

// A newline on stderr, where a server has left a line unfinished.
void end_line();

// A server's own bytes, on stderr.
void pass_on(std::string_view bytes);

// The line of a log at stderr, which is waited for.
void log(std::string_view prefix, std::string_view line);

// Results, on stdout: one line; a value as indented JSON; a text of the program's own (--help),
// which goes to stderr where it was not asked for.
void print(std::string_view line);
void print_json(const nlohmann::json& value);
void print_json(const nlohmann::ordered_json& value);
void print_text(const char* text);
void explain(const char* text);

// What they write, with the newline.
std::string as_line(std::string_view line);
std::string as_json(const nlohmann::json& value);
std::string as_json(const nlohmann::ordered_json& value);

}  // namespace thimble::cli
