#include "guest-init/codec.h"

#include <string.h>

namespace thimble::init {

using protocol::FieldHeader;
using protocol::FrameHeader;
using protocol::Mount;
using protocol::Rlimit;

namespace {

struct Field {
  uint16_t tag;
  char* value;
  uint32_t length;
};

// Walks the fields of a payload. `error` is set when a header or a value overruns it.
struct FieldCursor {
  char* next;
  size_t left;
  const char* error = nullptr;

  bool step(Field& field) {
    if (left == 0) return false;
    FieldHeader header;
    if (left < sizeof header) return stop("a field header is cut short");
    memcpy(&header, next, sizeof header);
    if (header.zero != 0) return stop("a reserved field is not zero");
    if (header.length > left - sizeof header) return stop("a field overruns its frame");
    field = {header.tag, next + sizeof header, header.length};
    next += sizeof header + header.length;
    left -= sizeof header + header.length;
    return true;
  }

  bool stop(const char* why) {
    error = why;
    return false;
  }
};

// Makes a NUL-terminated string of a field. It moves one byte down over its own header, which has
// been read, so that the NUL needs no room behind the value. Null when there is a NUL inside.
char* as_string(const Field& field) {
  if (memchr(field.value, '\0', field.length)) return nullptr;
  char* text = field.value - 1;
  memmove(text, field.value, field.length);
  text[field.length] = '\0';
  return text;
}

bool terminated(const char* text, size_t size) { return memchr(text, '\0', size) != nullptr; }

// Notes that a tag that may come once has come; false when it came before.
bool first_time(uint32_t& seen, uint32_t bit) {
  const bool first = !(seen & (1u << bit));
  seen |= 1u << bit;
  return first;
}

template <class T>
bool read_value(const Field& field, T& value) {
  if (field.length != sizeof value) return false;
  memcpy(&value, field.value, sizeof value);
  return true;
}

const char* add_mount(const Field& field, Configure& message) {
  if (message.mount_count == protocol::kMaxMounts) return "too many mounts";
  Mount& mount = message.mounts[message.mount_count];
  if (!read_value(field, mount)) return "a mount has the wrong size";
  if (!terminated(mount.source, sizeof mount.source) ||
      !terminated(mount.fstype, sizeof mount.fstype) ||
      !terminated(mount.target, sizeof mount.target)) {
    return "a mount's string has no end";
  }
  if (mount.target[0] != '/') return "a mount's target is not absolute";
  ++message.mount_count;
  return nullptr;
}

const char* configure_field(const Field& field, uint32_t& seen, Configure& message) {
  switch (field.tag) {
    case protocol::kTagHostname:
      if (!first_time(seen, 0)) return "hostname given twice";
      if (field.length == 0 || field.length > kMaxHostname) return "hostname of a wrong length";
      message.hostname = as_string(field);
      return message.hostname ? nullptr : "hostname with a NUL";
    case protocol::kTagWallClock:
      if (!first_time(seen, 1)) return "wall clock given twice";
      message.has_wall_clock = true;
      return read_value(field, message.wall_clock_ns) ? nullptr : "wall clock of a wrong size";
    case protocol::kTagEntropy:
      if (!first_time(seen, 2)) return "entropy given twice";
      if (field.length == 0 || field.length > kMaxEntropy) return "entropy of a wrong length";
      message.entropy = {field.value, field.length};
      return nullptr;
    case protocol::kTagMount:
      return add_mount(field, message);
    default:
      return "unknown field in configure";
  }
}

const char* add_argument(const Field& field, Start& message) {
  if (message.argument_count == protocol::kMaxArguments) return "too many arguments";
  char* text = as_string(field);
  if (!text) return "an argument with a NUL";
  message.arguments[message.argument_count++] = text;
  return nullptr;
}

const char* add_environment(const Field& field, Start& message) {
  if (message.environment_count == protocol::kMaxEnvironment) return "too many variables";
  char* text = as_string(field);
  if (!text) return "a variable with a NUL";
  const char* equals = strchr(text, '=');
  if (!equals || equals == text) return "a variable that is not NAME=value";
  message.environment[message.environment_count++] = text;
  return nullptr;
}

const char* add_rlimit(const Field& field, Start& message) {
  if (message.rlimit_count == protocol::kMaxRlimits) return "too many rlimits";
  if (!read_value(field, message.rlimits[message.rlimit_count])) return "rlimit of a wrong size";
  ++message.rlimit_count;
  return nullptr;
}

const char* read_process(const Field& field, uint32_t& process) {
  if (!read_value(field, process)) return "a process of a wrong size";
  const bool known = process > 0 && process <= protocol::kMaxProcesses;
  return known ? nullptr : "there is no such process";
}

const char* start_field(const Field& field, uint32_t& seen, Start& message) {
  switch (field.tag) {
    case protocol::kTagProcess:
      if (!first_time(seen, 5)) return "process given twice";
      return read_process(field, message.process);
    case protocol::kTagTerminal:
      if (!first_time(seen, 6)) return "terminal given twice";
      message.has_terminal = true;
      return read_value(field, message.window) ? nullptr : "terminal of a wrong size";
    case protocol::kTagArgument:
      return add_argument(field, message);
    case protocol::kTagEnvironment:
      return add_environment(field, message);
    case protocol::kTagRlimit:
      return add_rlimit(field, message);
    case protocol::kTagWorkdir:
      if (!first_time(seen, 0)) return "working directory given twice";
      message.workdir = as_string(field);
      return message.workdir && message.workdir[0] == '/' ? nullptr
                                                          : "working directory is not absolute";
    case protocol::kTagUser:
      if (!first_time(seen, 1)) return "user given twice";
      message.user = as_string(field);
      return message.user && message.user[0] ? nullptr : "user is empty or has a NUL";
    case protocol::kTagStdinGrace:
      if (!first_time(seen, 2)) return "stdin grace given twice";
      return read_value(field, message.stdin_grace_ms) ? nullptr : "stdin grace of a wrong size";
    case protocol::kTagTermGrace:
      if (!first_time(seen, 3)) return "term grace given twice";
      return read_value(field, message.term_grace_ms) ? nullptr : "term grace of a wrong size";
    case protocol::kTagDetached: {
      if (!first_time(seen, 4)) return "detached given twice";
      uint32_t value = 0;
      if (!read_value(field, value) || value > kAllStreams)
        return "detached awaits no such streams";
      message.detached = true;
      return nullptr;
    }
    default:
      return "unknown field in start";
  }
}

const char* signal_field(const Field& field, uint32_t& seen, Signal& message) {
  switch (field.tag) {
    case protocol::kTagProcess:
      if (!first_time(seen, 0)) return "process given twice";
      return read_process(field, message.process);
    case protocol::kTagSignal: {
      uint32_t number = 0;
      if (!first_time(seen, 1)) return "signal given twice";
      if (!read_value(field, number)) return "signal of a wrong size";
      if (number == 0 || number > 64) return "there is no such signal";
      message.number = static_cast<int>(number);
      return nullptr;
    }
    default:
      return "unknown field in signal";
  }
}

const char* resize_field(const Field& field, uint32_t& seen, Resize& message) {
  switch (field.tag) {
    case protocol::kTagProcess:
      if (!first_time(seen, 0)) return "process given twice";
      return read_process(field, message.process);
    case protocol::kTagTerminal:
      if (!first_time(seen, 1)) return "terminal given twice";
      return read_value(field, message.window) ? nullptr : "terminal of a wrong size";
    default:
      return "unknown field in resize";
  }
}

const char* freeze_field(const Field& field, uint32_t& seen, Freeze& message) {
  if (field.tag != protocol::kTagIdleLimit) return "unknown field in freeze";
  if (!first_time(seen, 0)) return "idle limit given twice";
  message.when_idle = true;
  return read_value(field, message.idle_limit_ms) ? nullptr : "idle limit of a wrong size";
}

const char* thaw_field(const Field& field, uint32_t& seen, Thaw& message) {
  switch (field.tag) {
    case protocol::kTagStdinGrace:
      if (!first_time(seen, 0)) return "stdin grace given twice";
      message.has_stdin_grace = true;
      return read_value(field, message.stdin_grace_ms) ? nullptr : "stdin grace of a wrong size";
    case protocol::kTagTermGrace:
      if (!first_time(seen, 1)) return "term grace given twice";
      message.has_term_grace = true;
      return read_value(field, message.term_grace_ms) ? nullptr : "term grace of a wrong size";
    default:
      return "unknown field in thaw";
  }
}

// All fields of a payload, one after another.
template <class Message>
const char* decode_fields(char* payload, size_t size, Message& message,
                          const char* (*take)(const Field&, uint32_t&, Message&)) {
  FieldCursor cursor{payload, size};
  Field field;
  uint32_t seen = 0;
  while (cursor.step(field)) {
    if (const char* why = take(field, seen, message)) return why;
  }
  return cursor.error;
}

// The payload must be exactly one field of this tag holding a T.
template <class T>
const char* decode_single(char* payload, size_t size, uint16_t tag, T& value) {
  FieldCursor cursor{payload, size};
  Field field;
  if (!cursor.step(field)) return cursor.error ? cursor.error : "the message has no field";
  if (field.tag != tag || !read_value(field, value)) return "the message has a wrong field";
  return cursor.left == 0 ? nullptr : "the message has too many fields";
}

}  // namespace

const char* check_header(const FrameHeader& header) {
  if (header.length > protocol::kMaxPayload) return "the frame is too long";
  if (header.zero != 0) return "a reserved header field is not zero";
  if (header.type < protocol::kConfigure || header.type > protocol::kResize) {
    return "unknown message type";
  }
  return nullptr;
}

const char* decode_configure(char* payload, size_t size, Configure& message) {
  message.hostname = nullptr;
  message.has_wall_clock = false;
  message.entropy = {};
  message.mount_count = 0;
  return decode_fields(payload, size, message, configure_field);
}

const char* decode_start(char* payload, size_t size, Start& message) {
  message.argument_count = message.environment_count = message.rlimit_count = 0;
  message.workdir = "/";
  message.user = nullptr;
  message.stdin_grace_ms = message.term_grace_ms = 0;
  message.detached = message.has_terminal = false;
  message.process = protocol::kServerProcess;
  if (const char* why = decode_fields(payload, size, message, start_field)) return why;
  message.arguments[message.argument_count] = nullptr;
  message.environment[message.environment_count] = nullptr;
  return message.argument_count > 0 ? nullptr : "start without a command";
}

Awaited awaited_streams(const char* payload, size_t size) {
  FieldCursor cursor{const_cast<char*>(payload), size};  // a cursor alone writes nothing
  Field field;
  Awaited awaited;
  bool detached = false;
  while (cursor.step(field)) {
    // What is wrong with a value is told when the start is decoded.
    if (field.tag == protocol::kTagProcess) (void)read_value(field, awaited.process);
    if (field.tag == protocol::kTagDetached) detached = read_value(field, awaited.streams);
    if (field.tag == protocol::kTagTerminal && !detached) awaited.streams = kTerminalStreams;
  }
  return awaited;
}

const char* decode_freeze(char* payload, size_t size, Freeze& message) {
  message = Freeze{};
  return decode_fields(payload, size, message, freeze_field);
}

const char* decode_thaw(char* payload, size_t size, Thaw& message) {
  message = Thaw{};
  return decode_fields(payload, size, message, thaw_field);
}

const char* decode_signal(char* payload, size_t size, Signal& message) {
  message = Signal{};
  if (const char* why = decode_fields(payload, size, message, signal_field)) return why;
  return message.number != 0 ? nullptr : "signal without a number";
}

const char* decode_resize(char* payload, size_t size, Resize& message) {
  message = Resize{};
  return decode_fields(payload, size, message, resize_field);
}

const char* decode_ping(char* payload, size_t size, uint64_t& nonce) {
  return decode_single(payload, size, protocol::kTagNonce, nonce);
}

const char* decode_set_clock(char* payload, size_t size, uint64_t& since_epoch_ns) {
  return decode_single(payload, size, protocol::kTagWallClock, since_epoch_ns);
}

const char* decode_empty(size_t size) { return size == 0 ? nullptr : "the message has a payload"; }

FrameWriter::FrameWriter(protocol::MessageType type) : size_(sizeof(FrameHeader)) {
  const FrameHeader header = {0, type, 0};
  memcpy(frame_, &header, sizeof header);
}

void FrameWriter::add(protocol::Tag tag, const void* value, size_t length) {
  if (sizeof frame_ - size_ < sizeof(FieldHeader)) return;
  const size_t room = sizeof frame_ - size_ - sizeof(FieldHeader);
  if (length > room) length = room;
  const FieldHeader header = {tag, 0, static_cast<uint32_t>(length)};
  memcpy(frame_ + size_, &header, sizeof header);
  memcpy(frame_ + size_ + sizeof header, value, length);
  size_ += sizeof header + length;
}

FrameWriter& FrameWriter::add_u32(protocol::Tag tag, uint32_t value) {
  add(tag, &value, sizeof value);
  return *this;
}

FrameWriter& FrameWriter::add_u64(protocol::Tag tag, uint64_t value) {
  add(tag, &value, sizeof value);
  return *this;
}

FrameWriter& FrameWriter::add_text(protocol::Tag tag, const char* text) {
  add(tag, text, strlen(text));
  return *this;
}

Bytes FrameWriter::finish() {
  const uint32_t length = static_cast<uint32_t>(size_ - sizeof(FrameHeader));
  memcpy(frame_, &length, sizeof length);
  return {frame_, size_};
}

}  // namespace thimble::init
