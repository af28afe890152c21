// What passes between the server of a launched VM and its clients, who come one after another and
// know nothing of each other. A client gets what it asked for and nothing that belongs to an
// earlier one; the server never gets half a message.
//
//   - A JSON line goes on when it is whole. Text that is not JSON passes as it comes.
//   - Of a client that hangs up, an unfinished JSON line is dropped and a line of text ended.
//   - Answers are counted against requests. The next client's turn begins when no answer is due to
//     an earlier one; what comes for one that has left is dropped.
//   - A client hears of lines that begin after its turn did. With no client, all of what the server
//     says is dropped: notifications, requests of its own, text.
//   - An answer to a request that the client has cancelled is not waited for, and not passed on.
//   - Answers without an id go to the client that is there: they say what is wrong with a line of
//     its. A line that names an id and is no message to us is waited for like a request: the server
//     may know better. One that names none (text, too) is not, since most servers say nothing about
//     it; but what may yet come about an earlier client's is dropped, until the server has answered
//     a later request: it complains of a line when it reads it.
//
// No descriptors and no clock: those are the supervisor's (supervisor.h).
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>

#include "tools/cli/rpc_line.h"

namespace thimble::cli {

class ClientTurns {
 public:
  // A longer line is dropped: too_long().
  static constexpr size_t kMaxLine = size_t{64} << 20;

  // An answer is due, to the client that is there or to one that has left.
  [[nodiscard]] bool owes() const { return !owed_.empty() || unclear_ > 0; }

  // A client's turn; not while owes().
  void begin();
  [[nodiscard]] bool has_client() const { return client_; }

  // Each returns what is to be written to the other side.
  std::string from_client(std::string_view bytes);
  std::string from_server(std::string_view bytes);
  // The client has said all, and still listens.
  std::string end_input();
  // The client has hung up.
  std::string leave();

  // Whether a line was dropped since the last call.
  bool too_long();

 private:
  struct Line {
    enum class State { kNew, kHeld, kPassing, kDropping };
    State state = State::kNew;
    std::string held;
    unsigned turn = 0;  // in which it began
  };

  // Takes bytes up to the end of a line. True: `line.held` is a whole line.
  bool take(Line& line, std::string_view& bytes, bool passes, std::string& out);
  [[nodiscard]] bool passes_on(std::string_view line);
  bool settle(const RpcMessage& answer, bool is_late);
  void note_client_line(std::string_view line);
  void note_client_message(const RpcMessage& message);

  std::multiset<std::string> owed_;  // ids
  bool client_ = false;
  bool has_spoken_ = false;
  bool unreadable_ = false;  // the client sent what may be answered under an id not in `owed_`
  // Lines that were not answered yet and that are no message to us:
  size_t unclear_ = 0;  // with an id
  size_t unnamed_ = 0;  // without one, of this turn …
  size_t earlier_ = 0;  // … and of earlier ones
  unsigned turn_ = 0;
  bool too_long_ = false;
  Line to_server_;
  Line to_client_;
};

}  // namespace thimble::cli
