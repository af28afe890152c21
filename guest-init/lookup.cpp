#include "guest-init/lookup.h"

#include <string.h>

namespace thimble::init {

namespace {

// Cuts off and returns what comes before the first separator; the whole rest when there is none.
Bytes cut(Bytes& rest, char separator) {
  const void* found = rest.size ? memchr(rest.data, separator, rest.size) : nullptr;
  if (!found) {
    const Bytes all = rest;
    rest = {};
    return all;
  }
  const size_t length = static_cast<size_t>(static_cast<const char*>(found) - rest.data);
  const Bytes head = {rest.data, length};
  rest = {rest.data + length + 1, rest.size - length - 1};
  return head;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

Bytes next_word(Bytes& rest) {
  while (rest.size && is_blank(*rest.data)) rest = {rest.data + 1, rest.size - 1};
  size_t length = 0;
  while (length < rest.size && !is_blank(rest.data[length])) ++length;
  const Bytes word = {rest.data, length};
  rest = {rest.data + length, rest.size - length};
  return word;
}

}  // namespace

bool find_option(Bytes command_line, const char* key, char* value, size_t capacity) {
  const Bytes wanted = bytes_of(key);
  bool found = false;
  while (command_line.size) {
    Bytes word = next_word(command_line);
    const bool has_value = word.size > wanted.size && word.data[wanted.size] == '=';
    if (!has_value || !equal({word.data, wanted.size}, wanted)) continue;
    word = {word.data + wanted.size + 1, word.size - wanted.size - 1};
    found = word.size < capacity;
    if (!found) continue;
    memcpy(value, word.data, word.size);
    value[word.size] = '\0';
  }
  return found;
}

bool parse_id(Bytes text, uint32_t& id) {
  if (text.size == 0 || text.size > 10) return false;
  uint64_t number = 0;
  for (size_t i = 0; i < text.size; ++i) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
    number = number * 10 + static_cast<uint64_t>(text.data[i] - '0');
  }
  if (number >= UINT32_MAX) return false;
  id = static_cast<uint32_t>(number);
  return true;
}

bool find_user(Bytes passwd, Bytes name, UserEntry& entry) {
  uint32_t wanted = 0;
  const bool by_number = parse_id(name, wanted);
  while (passwd.size) {
    Bytes line = cut(passwd, '\n');
    UserEntry read;
    read.name = cut(line, ':');
    cut(line, ':');  // password
    if (!parse_id(cut(line, ':'), read.uid) || !parse_id(cut(line, ':'), read.gid)) continue;
    if (by_number ? read.uid != wanted : !equal(read.name, name)) continue;
    cut(line, ':');  // comment
    read.home = cut(line, ':');
    entry = read;
    return true;
  }
  return false;
}

bool find_group(Bytes group, Bytes name, uint32_t& gid) {
  while (group.size) {
    Bytes line = cut(group, '\n');
    const Bytes entry = cut(line, ':');
    cut(line, ':');  // password
    if (equal(entry, name) && parse_id(cut(line, ':'), gid)) return true;
  }
  return false;
}

size_t find_memberships(Bytes group, Bytes user, uint32_t primary, uint32_t* gids,
                        size_t capacity) {
  size_t count = 0;
  while (group.size && count < capacity) {
    Bytes line = cut(group, '\n');
    cut(line, ':');  // name
    cut(line, ':');  // password
    uint32_t gid = 0;
    if (!parse_id(cut(line, ':'), gid) || gid == primary) continue;
    bool listed = false;
    while (line.size && !listed) listed = equal(cut(line, ','), user);
    if (listed) gids[count++] = gid;
  }
  return count;
}

UserLookup resolve_user(Bytes spec, Bytes passwd, Bytes group, UserEntry& user) {
  const bool has_group = spec.size && memchr(spec.data, ':', spec.size);
  Bytes group_name = spec;
  const Bytes user_name = cut(group_name, ':');
  user = {};
  if (!find_user(passwd, user_name, user) && !parse_id(user_name, user.uid)) {
    return UserLookup::kNoUser;
  }
  if (has_group && !find_group(group, group_name, user.gid) && !parse_id(group_name, user.gid)) {
    return UserLookup::kNoGroup;
  }
  return UserLookup::kFound;
}

CommandSearch::CommandSearch(const char* command, const char* path)
    : command_(command), rest_(path ? path : kDefaultPath), plain_(strchr(command, '/')) {
  if (command[0] == '\0') rest_ = nullptr;
}

bool CommandSearch::next(char* candidate, size_t capacity) {
  const size_t length = strlen(command_);
  while (rest_) {
    const size_t directory = plain_ ? 0 : strcspn(rest_, ":");
    const char* const start = rest_;
    rest_ = plain_ || start[directory] == '\0' ? nullptr : start + directory + 1;
    const bool slash = directory > 0;
    if (directory + slash + length >= capacity) continue;
    memcpy(candidate, start, directory);
    if (slash) candidate[directory] = '/';
    memcpy(candidate + directory + slash, command_, length + 1);
    return true;
  }
  return false;
}

const char* find_variable(char* const* environment, const char* name) {
  const size_t length = strlen(name);
  for (; *environment; ++environment) {
    if (!strncmp(*environment, name, length) && (*environment)[length] == '=') {
      return *environment + length + 1;
    }
  }
  return nullptr;
}

}  // namespace thimble::init
