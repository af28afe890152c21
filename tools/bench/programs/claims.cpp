// From a pool claim to a server's first answer, many times in one process: what the pool costs a
// program that embeds the library. The template must have been frozen ready.
//
//   claims each COUNT SOCKET STORE TEMPLATE LINE
//       claims COUNT clones one after another, each when the one before is gone and a shell waits;
//       sends each LINE and awaits the line that answers
//   claims hold COUNT SOCKET STORE TEMPLATE [LINE]
//       the same, but they all stay; without LINE until the server runs
//   claims storm COUNT SOCKET STORE TEMPLATE [LINE]
//       … and no claim waits outside its time for a shell
//
// Prints a line of JSON for each clone: its process and the clocks (clocks.h) from right before the
// claim; then the clocks of all of them together. With hold and storm, each line of stdin then goes
// to every server, whose answers are awaited if it has an "id", and the clocks of that follow; the
// end of stdin ends all.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "tools/bench/programs/claimed_server.h"
#include "tools/bench/programs/clocks.h"
#include "tools/bench/programs/pool_state.h"

namespace {

using namespace thimble;
using namespace thimble::bench;

constexpr unsigned kLooks = 3000;
constexpr useconds_t kLookUs = 20'000;

void await_settled(const std::string& socket, bool with_claimed) {
  for (unsigned i = 0; i < kLooks; ++i) {
    const auto settled = pool_is_settled(socket, with_claimed);
    if (!settled) give_up(settled.error().message);
    if (*settled) return;
    ::usleep(kLookUs);
  }
  give_up("the pool does not fill up");
}

void print(pid_t pid, const Clocks& took) {
  std::printf("{\"pid\": %d, \"latency_ns\": %ld, \"busy_ns\": %ld}\n", pid, took.clock, took.busy);
  std::fflush(stdout);
}

// All at once: their answers are awaited when each has been asked.
void ask_all(std::vector<ClaimedServer>& servers, const std::string& line) {
  const Clocks begin = Clocks::now();
  for (ClaimedServer& server : servers) {
    if (auto sent = server.send(line); !sent) give_up(sent.error().message);
  }
  const bool is_request = line.find("\"id\"") != std::string::npos;
  for (ClaimedServer& server : servers) {
    if (!is_request) break;
    if (auto answer = server.await_line(); !answer) give_up(answer.error().message);
  }
  print(0, Clocks::now() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) give_up("usage: see the first lines of claims.cpp");
  ::signal(SIGPIPE, SIG_IGN);
  const std::string how = argv[1];
  const bool stay = how != "each";
  const unsigned long count = std::strtoul(argv[2], nullptr, 10);
  const std::string socket = argv[3];
  const TemplateId id{argv[4], argv[5]};
  std::vector<ClaimedServer> held;
  const Clocks start = Clocks::now();
  for (unsigned long i = 0; i < count; ++i) {
    if (how != "storm") await_settled(socket, stay);
    const Clocks begin = Clocks::now();
    auto server = ClaimedServer::claim(socket, id, argc == 7 ? argv[6] : "");
    const Clocks took = Clocks::now() - begin;
    if (!server) give_up(server.error().message);
    print(server->pid(), took);
    if (stay) held.push_back(std::move(*server));
  }
  print(0, Clocks::now() - start);
  std::string line;
  while (stay && std::getline(std::cin, line)) ask_all(held, line);
  return 0;
}
