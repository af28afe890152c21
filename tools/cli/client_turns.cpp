// See client_turns.h.
#include "tools/cli/client_turns.h"

#include <algorithm>
#include <utility>

namespace thimble::cli {

namespace {

// Blanks may be the beginning of either; they wait with what follows.
bool may_be_json(char first) {
  return first == '{' || first == '[' || first == ' ' || first == '\t' || first == '\r';
}

}  // namespace

void ClientTurns::begin() {
  client_ = true;
  has_spoken_ = false;
  unreadable_ = false;
  earlier_ += std::exchange(unnamed_, 0);
  ++turn_;
  to_server_ = Line{};
}

bool ClientTurns::take(Line& line, std::string_view& bytes, bool passes, std::string& out) {
  using State = Line::State;
  const size_t end = bytes.find('\n');
  const bool whole = end != std::string_view::npos;
  const std::string_view piece = bytes.substr(0, whole ? end + 1 : bytes.size());
  bytes.remove_prefix(piece.size());
  if (line.state == State::kNew) {
    line.turn = turn_;
    line.state = may_be_json(piece.front()) ? State::kHeld : State::kPassing;
    if (!passes) line.state = State::kDropping;
  }
  // A line of text whose client has left has nobody to go to.
  if (line.state == State::kPassing && (!client_ || line.turn != turn_)) {
    line.state = State::kDropping;
  }
  if (line.state == State::kPassing) out += piece;
  if (line.state == State::kHeld) line.held += piece;
  if (line.held.size() > kMaxLine) {
    too_long_ = true;
    line.state = State::kDropping;
    std::string().swap(line.held);
  }
  if (!whole) return false;
  return std::exchange(line.state, State::kNew) == State::kHeld;
}

std::string ClientTurns::from_client(std::string_view bytes) {
  std::string out;
  if (!bytes.empty()) has_spoken_ = true;
  while (!bytes.empty()) {
    if (to_server_.state == Line::State::kNew && !may_be_json(bytes.front())) ++unnamed_;
    if (!take(to_server_, bytes, true, out)) continue;
    note_client_line(to_server_.held);
    out += std::exchange(to_server_.held, {});
  }
  return out;
}

std::string ClientTurns::from_server(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const bool counts = owes() || unnamed_ + earlier_ > 0;
    if (!take(to_client_, bytes, client_ || counts, out)) continue;
    const std::string line = std::exchange(to_client_.held, {});
    const bool wanted = passes_on(line);
    if (wanted && client_ && to_client_.turn == turn_) out += line;
  }
  return out;
}

void ClientTurns::note_client_line(std::string_view line) {
  const auto messages = read_rpc_line(line);
  if (messages) {
    for (const RpcMessage& message : *messages) note_client_message(message);
    if (messages->empty()) ++unnamed_;
  } else if (line.contains("\"id\"")) {
    ++unclear_;
    unreadable_ = true;
  } else {
    ++unnamed_;
  }
}

void ClientTurns::note_client_message(const RpcMessage& message) {
  using Kind = RpcMessage::Kind;
  if (message.kind == Kind::kRequest) {
    owed_.insert(message.id);
  } else if (message.kind != Kind::kNotification && message.id.empty()) {
    ++unnamed_;
  } else if (message.kind == Kind::kUnclear) {
    ++unclear_;
    unreadable_ = true;
  }
  const auto cancelled = owed_.find(message.cancels);
  if (!message.cancels.empty() && cancelled != owed_.end()) owed_.erase(cancelled);
}

// Counts the answers, whoever is there. False: all that the line has are answers that nobody waits
// for any more.
bool ClientTurns::passes_on(std::string_view line) {
  using Kind = RpcMessage::Kind;
  const auto messages = read_rpc_line(line);
  if (!messages || messages->empty()) return true;
  const bool is_late = earlier_ > 0;
  bool wanted = false;
  for (const RpcMessage& message : *messages) {
    const bool own = message.kind == Kind::kRequest || message.kind == Kind::kNotification;
    if (own || settle(message, is_late)) wanted = true;
  }
  return wanted;
}

// Whether the answer is one to the client whose turn it is. `is_late`: one without an id is not.
bool ClientTurns::settle(const RpcMessage& answer, bool is_late) {
  if (const auto due = owed_.find(answer.id); due != owed_.end()) {
    owed_.erase(due);
    earlier_ = 0;
    return true;
  }
  if (answer.id.empty() && is_late) {
    if (earlier_ > 0) --earlier_;
    return false;
  }
  if (answer.id.empty() && unnamed_ > 0) {
    --unnamed_;
  } else if (unclear_ > 0) {
    --unclear_;
  }
  return answer.id.empty() ? has_spoken_ : unreadable_;
}

std::string ClientTurns::end_input() {
  const bool begun = to_server_.state != Line::State::kNew;
  return begun ? from_client("\n") : std::string();
}

std::string ClientTurns::leave() {
  const bool text = std::exchange(to_server_, Line{}).state == Line::State::kPassing;
  client_ = false;
  return text ? "\n" : "";
}

bool ClientTurns::too_long() { return std::exchange(too_long_, false); }

}  // namespace thimble::cli
