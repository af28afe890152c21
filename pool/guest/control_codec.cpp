// See control_codec.h.
#include "pool/guest/control_codec.h"

#include <algorithm>
#include <array>
#include <bitset>

#include "devices/printable.h"
#include "devices/text.h"

namespace thimble {

namespace {

using namespace protocol;  // NOLINT: this file is about nothing else
using Kind = GuestEvent::Kind;

struct Field {
  uint16_t tag = 0;
  std::span<const uint8_t> value;
};

// Takes the next field off `rest`.
Result<Field> next_field(std::span<const uint8_t>& rest) {
  FieldHeader header{};
  if (rest.size() < sizeof header) return fail("a field cut short");
  std::memcpy(&header, rest.data(), sizeof header);
  rest = rest.subspan(sizeof header);
  if (header.zero != 0) return fail("a field header with unknown bits");
  if (header.length > rest.size()) return fail("a field that overruns its frame");
  const Field field{header.tag, rest.first(header.length)};
  rest = rest.subspan(header.length);
  return field;
}

template <class T>
Result<T> number(const Field& field) {
  T value{};
  if (field.value.size() != sizeof value) {
    return fail(text("field %u of %zu bytes", field.tag, field.value.size()));
  }
  std::memcpy(&value, field.value.data(), sizeof value);
  return value;
}

Result<void> set_u32(const Field& field, uint32_t& target) {
  auto value = number<uint32_t>(field);
  if (!value) return std::unexpected(value.error());
  target = *value;
  return {};
}

Result<void> set_optional_u32(const Field& field, std::optional<uint32_t>& target) {
  target.emplace(0);
  return set_u32(field, *target);
}

Result<void> set_nonce(const Field& field, GuestEvent& event) {
  auto value = number<uint64_t>(field);
  if (!value) return std::unexpected(value.error());
  event.nonce = *value;
  return {};
}

Result<void> check_version(const Field& field) {
  auto value = number<uint32_t>(field);
  if (!value) return std::unexpected(value.error());
  if (*value != kVersion) {
    return fail(
        text("guest-init speaks version %u of the control protocol, thimble %u", *value, kVersion));
  }
  return {};
}

Result<void> set_process(const Field& field, GuestEvent& event) {
  auto value = number<uint32_t>(field);
  if (!value) return std::unexpected(value.error());
  if (*value == kServerProcess || *value > kMaxProcesses) {
    return fail(text("a process %u that there cannot be", *value));
  }
  event.process = *value;
  return {};
}

Result<void> set_state(const Field& field, GuestEvent& event) {
  auto value = number<uint32_t>(field);
  if (!value) return std::unexpected(value.error());
  if (*value > kStateFrozenRunning) return fail(text("a guest in an unknown state %u", *value));
  event.found = static_cast<GuestState>(*value);
  return {};
}

// One field of a message of this kind. Tags of other messages are errors.
Result<void> take_field(const Field& field, GuestEvent& event) {
  const auto is = [&](Kind kind, Tag tag) { return event.kind == kind && field.tag == tag; };
  if (is(Kind::kHello, kTagVersion)) return check_version(field);
  if (is(Kind::kHello, kTagState)) return set_state(field, event);
  if (is(Kind::kStarted, kTagProcess) || is(Kind::kFailed, kTagProcess) ||
      is(Kind::kExited, kTagProcess)) {
    return set_process(field, event);
  }
  if (is(Kind::kStarted, kTagPid)) return set_u32(field, event.pid);
  if (is(Kind::kFailed, kTagErrno)) return set_u32(field, event.error);
  if (is(Kind::kFailed, kTagStep)) return set_u32(field, event.step);
  if (is(Kind::kExited, kTagExitCode)) return set_optional_u32(field, event.exit_code);
  if (is(Kind::kExited, kTagExitSignal)) return set_optional_u32(field, event.exit_signal);
  if (is(Kind::kExited, kTagOomKills)) return set_u32(field, event.oom_kills);
  if (is(Kind::kPong, kTagNonce)) return set_nonce(field, event);
  if (is(Kind::kFailed, kTagText) || is(Kind::kNotice, kTagText) || is(Kind::kFrozen, kTagText)) {
    const auto* chars = reinterpret_cast<const char*>(field.value.data());
    event.text = printable({chars, field.value.size()});
    return {};
  }
  return fail(text("a field %u that does not belong there", field.tag));
}

std::optional<Kind> kind_of(uint16_t type) {
  switch (type) {
    case kHello:
      return Kind::kHello;
    case kConfigured:
      return Kind::kConfigured;
    case kStarted:
      return Kind::kStarted;
    case kFailed:
      return Kind::kFailed;
    case kExited:
      return Kind::kExited;
    case kPong:
      return Kind::kPong;
    case kNotice:
      return Kind::kNotice;
    case kFrozen:
      return Kind::kFrozen;
    case kThawed:
      return Kind::kThawed;
    default:
      return std::nullopt;
  }
}

constexpr size_t kTagLimit = 128;
using Tags = std::bitset<kTagLimit>;

// What must not be missing.
Result<void> check_complete(const GuestEvent& event, const Tags& seen) {
  switch (event.kind) {
    case Kind::kHello:
      if (!seen[kTagVersion]) return fail("hello without a version");
      if (!seen[kTagState]) return fail("hello without a state");
      break;
    case Kind::kFailed:
      if (!seen[kTagStep]) return fail("a failure that does not say of what");
      break;
    case Kind::kPong:
      if (!seen[kTagNonce]) return fail("an answer to no ping");
      break;
    case Kind::kExited:
      if (event.exit_code.has_value() == event.exit_signal.has_value()) {
        return fail("an exit with neither or both of code and signal");
      }
      if (event.exit_code.value_or(0) > 255) return fail("an exit code above 255");
      if (event.exit_signal && (*event.exit_signal == 0 || *event.exit_signal > 64)) {
        return fail("an exit by no signal");
      }
      break;
    default:
      break;
  }
  return {};
}

Result<void> check_string(std::string_view what, std::string_view value) {
  if (value.find('\0') == std::string_view::npos) return {};
  return fail(std::string(what) + " with a zero byte in it");
}

bool terminated(std::span<const char> array) {
  return std::find(array.begin(), array.end(), '\0') != array.end();
}

}  // namespace

void FieldWriter::add(uint16_t tag, std::span<const uint8_t> value) {
  const FieldHeader header{tag, 0, static_cast<uint32_t>(value.size())};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  payload_.insert(payload_.end(), bytes, bytes + sizeof header);
  payload_.insert(payload_.end(), value.begin(), value.end());
}

void FieldWriter::add_text(uint16_t tag, std::string_view value) {
  add(tag, {reinterpret_cast<const uint8_t*>(value.data()), value.size()});
}

Result<std::vector<uint8_t>> encode_identity(const GuestIdentity& identity) {
  if (identity.mounts.size() > kMaxMounts) {
    return fail(text("%zu mounts; a guest takes %u", identity.mounts.size(), kMaxMounts));
  }
  FieldWriter fields;
  if (auto ok = check_string("a host name", identity.hostname); !ok) {
    return std::unexpected(ok.error());
  }
  if (!identity.hostname.empty()) fields.add_text(kTagHostname, identity.hostname);
  if (identity.wall_clock_ns != 0) {
    fields.add_number<uint64_t>(kTagWallClock, identity.wall_clock_ns);
  }
  if (!identity.entropy.empty()) fields.add(kTagEntropy, identity.entropy);
  for (const Mount& mount : identity.mounts) {
    if (!terminated(mount.source) || !terminated(mount.fstype) || !terminated(mount.target)) {
      return fail("a mount with a path that is too long");
    }
    fields.add_number<Mount>(kTagMount, mount);
  }
  return fields.take();
}

Result<std::vector<uint8_t>> encode_server(const ServerSpec& server, uint32_t process) {
  if (server.arguments.empty() || server.arguments.front().empty()) return fail("an empty command");
  if (server.arguments.size() > kMaxArguments) {
    return fail(text("%zu arguments; a guest takes %u", server.arguments.size(), kMaxArguments));
  }
  if (server.environment.size() > kMaxEnvironment) {
    return fail(text("%zu environment variables; a guest takes %u", server.environment.size(),
                     kMaxEnvironment));
  }
  if (server.rlimits.size() > kMaxRlimits) return fail("too many resource limits");
  FieldWriter fields;
  for (const std::string& argument : server.arguments) {
    if (auto ok = check_string("an argument", argument); !ok) return std::unexpected(ok.error());
    fields.add_text(kTagArgument, argument);
  }
  for (const std::string& variable : server.environment) {
    if (auto ok = check_string("a variable", variable); !ok) return std::unexpected(ok.error());
    fields.add_text(kTagEnvironment, variable);
  }
  if (!server.workdir.empty()) {
    if (server.workdir.front() != '/') return fail("the working directory must be absolute");
    fields.add_text(kTagWorkdir, server.workdir);
  }
  if (!server.user.empty()) fields.add_text(kTagUser, server.user);
  for (const Rlimit& limit : server.rlimits) fields.add_number<Rlimit>(kTagRlimit, limit);
  fields.add_number<uint32_t>(kTagStdinGrace, server.stdin_grace_ms);
  fields.add_number<uint32_t>(kTagTermGrace, server.term_grace_ms);
  if (process != kServerProcess) fields.add_number<uint32_t>(kTagProcess, process);
  if (server.terminal) fields.add_number<Window>(kTagTerminal, *server.terminal);
  if (server.detached) fields.add_number<uint32_t>(kTagDetached, server.awaited_streams);
  return fields.take();
}

Result<GuestEvent> decode_guest_message(uint16_t type, std::span<const uint8_t> payload) {
  const auto kind = kind_of(type);
  if (!kind) return fail(text("an unknown message type %u", type));
  GuestEvent event;
  event.kind = *kind;
  Tags seen;
  while (!payload.empty()) {
    auto field = next_field(payload);
    if (!field) return std::unexpected(field.error());
    if (field->tag >= kTagLimit || seen[field->tag]) {
      return fail(text("a field %u that is unknown or there twice", field->tag));
    }
    seen.set(field->tag);
    if (auto taken = take_field(*field, event); !taken) return std::unexpected(taken.error());
  }
  if (auto complete = check_complete(event, seen); !complete) {
    return std::unexpected(complete.error());
  }
  return event;
}

}  // namespace thimble
