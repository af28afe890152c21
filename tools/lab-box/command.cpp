// The contents of an Exec frame; see command.h.
#include "tools/lab-box/command.h"

#include <charconv>

#include "tools/lab-box/pack.h"

namespace thimble::lab {
namespace {

bool parse(std::string_view text, auto& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_groups(std::string_view text, std::vector<gid_t>& groups) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    gid_t group = 0;
    if (!parse(item, group)) return false;
    groups.push_back(group);
    text.remove_prefix(std::min(text.size(), item.size() + 1));
  }
  return true;
}

}  // namespace

std::string Command::pack() const {
  std::string group_list;
  for (const gid_t group : groups) {
    if (!group_list.empty()) group_list += ',';
    group_list += std::to_string(group);
  }
  std::string out;
  pack_string(out, directory);
  pack_string(out, std::to_string(uid));
  pack_string(out, std::to_string(gid));
  pack_string(out, group_list);
  pack_string(out, std::to_string(arguments.size()));
  for (const auto& argument : arguments) pack_string(out, argument);
  for (const auto& variable : environment) pack_string(out, variable);
  return out;
}

Result<Command> Command::unpack(std::string_view payload) {
  const auto list = unpack_strings(payload);
  Command command;
  size_t count = 0;
  const size_t fixed = 5;
  if (!list || list->size() < fixed || !parse((*list)[1], command.uid) ||
      !parse((*list)[2], command.gid) || !parse_groups((*list)[3], command.groups) ||
      !parse((*list)[4], count) || count == 0 || count > list->size() - fixed) {
    return fail("the lab agent was sent a command that it cannot read");
  }
  command.directory = (*list)[0];
  const auto arguments = list->begin() + fixed;
  const auto environment = arguments + static_cast<std::ptrdiff_t>(count);
  command.arguments.assign(arguments, environment);
  command.environment.assign(environment, list->end());
  return command;
}

}  // namespace thimble::lab
