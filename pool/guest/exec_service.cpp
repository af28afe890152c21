// See exec_service.h.
#include "pool/guest/exec_service.h"

#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "devices/text.h"
#include "pool/guest/server_streams.h"

namespace thimble {

namespace {

ExecWords failure(uint32_t step, uint32_t error, const std::string& why) {
  return {"failed", std::to_string(step), std::to_string(error), why};
}

// A later variable of a name takes the place of an earlier one; of PATH it goes before that, as in
// `thimble run --env`: nothing of the image would be found without it.
void set_variable(std::vector<std::string>& environment, std::string variable) {
  const std::string name = variable.substr(0, variable.find('=') + 1);
  const auto same = [&](const std::string& one) { return one.starts_with(name); };
  const auto earlier = std::ranges::find_if(environment, same);
  if (name == "PATH=" && earlier != environment.end()) {
    variable += ":" + earlier->substr(name.size());
  }
  std::erase_if(environment, same);
  environment.push_back(std::move(variable));
}

}  // namespace

ExecService::ExecService(Fd listener, ServerSpec server, std::chrono::milliseconds grace)
    : listener_(std::move(listener)), server_(std::move(server)), grace_(grace) {}

std::array<pollfd, ExecService::kEntries> ExecService::entries() const {
  std::array<pollfd, kEntries> out{};
  out[0] = {listener_.get(), POLLIN, 0};
  for (size_t i = 0; i < clients_.size(); ++i) out[i + 1] = {clients_[i].socket.get(), POLLIN, 0};
  return out;
}

void ExecService::serve(std::span<const pollfd, kEntries> answered, GuestSession& guest) {
  for (size_t i = 0; i < clients_.size(); ++i) {
    // It may be another's by now: receiving says so, and does not wait.
    if (answered[i + 1].revents != 0 && clients_[i].socket) serve_client(clients_[i], guest);
  }
  if (answered[0].revents != 0) accept();
}

void ExecService::accept() {
  Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  const auto free = std::ranges::find(clients_, Client::State::kFree, &Client::state);
  if (free == clients_.end()) {
    // What lies unread when a socket is closed takes the answer away from its reader.
    (void)receive_exec(socket.get());
    send_exec(
        socket.get(),
        failure(0, 0, text("%u processes run beside the server already", protocol::kMaxProcesses)));
    return;
  }
  *free = Client{.state = Client::State::kAsking, .socket = std::move(socket)};
}

void ExecService::serve_client(Client& client, GuestSession& guest) {
  auto received = receive_exec(client.socket.get());
  if (std::holds_alternative<ExecNothing>(received)) return;
  if (const auto* message = std::get_if<ExecMessage>(&received)) {
    return on_words(client, message->words, guest);
  }
  abandon(client, guest);
}

void ExecService::on_words(Client& client, const ExecWords& words, GuestSession& guest) {
  if (client.state == Client::State::kAsking) return start(client, words, guest);
  if (words[0] == "signal" && words.size() == 2) {
    const int number = std::atoi(words[1].c_str());
    if (guest.control().signal_beside(client.process, static_cast<uint32_t>(number))) return;
  }
  if (words[0] == "resize" && words.size() == 3) {
    const auto window = parse_window(words[1], words[2]);
    if (window && guest.control().resize(client.process, *window)) return;
  }
  abandon(client, guest);
}

void ExecService::start(Client& client, const ExecWords& words, GuestSession& guest) {
  const auto request = parse_exec_request(words);
  Result<void> done = request ? start_process(client, *request, guest)
                              : Result<void>(std::unexpected(request.error()));
  if (done) return;
  tell(client, failure(0, 0, done.error().message));
  // What the guest has been asked for is there until it says otherwise.
  abandon(client, guest);
}

Result<void> ExecService::start_process(Client& client, const ExecRequest& request,
                                        GuestSession& guest) {
  auto process = guest.control().start_beside(spec_of(request));
  if (!process) return std::unexpected(process.error());
  client.process = *process;
  client.state = Client::State::kStarting;
  const bool has_terminal = request.terminal.has_value();
  auto streams = connect_streams(guest.vm(), *process, has_terminal);
  if (!streams) return std::unexpected(streams.error());
  const std::array all{streams->input.get(), streams->output.get(), streams->error.get()};
  if (send_exec(client.socket.get(), {"streams"}, std::span(all).first(has_terminal ? 2 : 3))) {
    return {};
  }
  return fail_errno("hand over the streams");
}

ServerSpec ExecService::spec_of(const ExecRequest& request) const {
  ServerSpec spec;
  spec.arguments = request.command;
  spec.environment = server_.environment;
  for (const std::string& variable : request.environment) set_variable(spec.environment, variable);
  spec.workdir = request.workdir.empty() ? server_.workdir : request.workdir;
  spec.user = request.user.empty() ? server_.user : request.user;
  spec.rlimits = server_.rlimits;
  spec.terminal = request.terminal;
  return spec;
}

void ExecService::tell(const Client& client, const ExecWords& words) {
  // One that does not read hears nothing more, and its end is seen by itself.
  if (client.socket) send_exec(client.socket.get(), words);
}

void ExecService::abandon(Client& client, GuestSession& guest) const {
  client.socket.reset();
  if (client.state == Client::State::kAsking) {
    client = Client{};
    return;
  }
  if (client.state == Client::State::kFree || client.state == Client::State::kAbandoned) return;
  client.state = Client::State::kAbandoned;
  client.kill_at = Clock::now() + grace_;
  // Where the guest reads nothing just now, on_deadline() tries again.
  [[maybe_unused]] auto asked = guest.control().signal_beside(client.process, SIGHUP);
}

void ExecService::on_guest(const GuestEvent& event) {
  const auto client = std::ranges::find_if(clients_, [&](const Client& one) {
    return one.state != Client::State::kFree && one.process == event.process;
  });
  if (client == clients_.end()) return;
  switch (event.kind) {
    case GuestEvent::Kind::kStarted:
      if (client->state == Client::State::kStarting) client->state = Client::State::kRunning;
      return tell(*client, {"started"});
    case GuestEvent::Kind::kFailed:
      tell(*client, failure(event.step, event.error, event.text));
      break;
    case GuestEvent::Kind::kExited:
      tell(*client, event.exit_signal
                        ? ExecWords{"killed", std::to_string(*event.exit_signal)}
                        : ExecWords{"exited", std::to_string(event.exit_code.value_or(0))});
      break;
    default:
      return;
  }
  *client = Client{};
}

std::optional<ExecService::Clock::time_point> ExecService::deadline() const {
  std::optional<Clock::time_point> next;
  for (const Client& client : clients_) {
    if (client.kill_at && (!next || *client.kill_at < *next)) next = client.kill_at;
  }
  return next;
}

void ExecService::on_deadline(GuestSession& guest) {
  for (Client& client : clients_) {
    if (!client.kill_at || Clock::now() < *client.kill_at) continue;
    client.kill_at.reset();
    if (!guest.control().signal_beside(client.process, SIGKILL)) {
      client.kill_at = Clock::now() + grace_;
    }
  }
}

}  // namespace thimble
