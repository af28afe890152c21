// Messages between a jailed process of a build and the builder outside: one packet each, a letter
// and a text. Both ends take what comes for hostile: it is cut to a limit, and no descriptors come
// with it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::image {

struct Message {
  enum Kind : char {
    kProgress = 'p',  // a line for the user
    kFetch = 'f',     // fetch.h; waits for an answer
    kError = 'e',     // why it failed: the last message, or a bad answer
    kDone = 'd',      // the last message, or a good answer
  };
  char kind = kDone;
  std::string text = {};
};

// The outside's end, the inside's end.
Result<std::pair<Fd, Fd>> make_channel();

// A text that is too long is cut. Nothing can be done about a reader that is gone.
void send_message(int channel, Message::Kind kind, std::string_view text);
// Waits; empty when the other end is gone.
std::optional<Message> receive_message(int channel);

}  // namespace thimble::image
