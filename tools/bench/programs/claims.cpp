// From a pool claim to a server's first answer, many times in one process: what the pool costs a
// program that embeds the library. The template must have been frozen ready.
//
//   claims each COUNT SOCKET STORE TEMPLATE LINE
//       claims COUNT clones one after another, each when the one before is gone and a warm VM
//       waits; sends each LINE and awaits the line that answers
//   claims hold COUNT SOCKET STORE TEMPLATE [LINE]
//       the same, but they all stay; without LINE until the server runs
//   claims storm COUNT SOCKET STORE TEMPLATE [LINE]
//       … and no claim waits outside its time for a warm VM
//
// Prints a line of JSON for each clone: its process and the clocks (clocks.h) from right before the
// claim; then the clocks of all of them together. With hold and storm, lines of stdin follow: "+N"
// claims N more in the same way; any other line goes to every server, whose answers are awaited if
// it has an "id", and the clocks of that are printed. The end of stdin ends all.
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

// The next warm VM is begun 0.2 s after a claim (pool/pool.h).
constexpr unsigned kLooks = 600;
constexpr useconds_t kLookUs = 110'000;

struct Claimed {
  std::string folder;
  TemplateId id;
  std::string line;  // what each server is sent at once; or empty
};

void await_settled(const std::string& folder, bool with_claimed) {
  for (unsigned i = 0; i < kLooks; ++i) {
    const auto settled = pool_is_settled(folder, with_claimed);
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
void ask_all(std::vector<std::unique_ptr<ClaimedServer>>& servers, const std::string& line) {
  const Clocks begin = Clocks::now();
  for (const auto& server : servers) {
    if (auto sent = server->send(line); !sent) give_up(sent.error().message);
  }
  const bool is_request = line.find("\"id\"") != std::string::npos;
  for (const auto& server : servers) {
    if (!is_request) break;
    if (auto answer = server->await_line(); !answer) give_up(answer.error().message);
  }
  print(0, Clocks::now() - begin);
}

void claim_some(const Claimed& pool, const std::string& how, unsigned long count,
                std::vector<std::unique_ptr<ClaimedServer>>& held) {
  const bool stay = how != "each";
  const Clocks start = Clocks::now();
  for (unsigned long i = 0; i < count; ++i) {
    if (how != "storm") await_settled(pool.folder, stay);
    const Clocks begin = Clocks::now();
    auto server = ClaimedServer::claim(pool.folder, pool.id, pool.line);
    const Clocks took = Clocks::now() - begin;
    if (!server) give_up(server.error().message);
    print((*server)->pid(), took);
    if (stay) held.push_back(std::move(*server));
  }
  print(0, Clocks::now() - start);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) give_up("usage: see the first lines of claims.cpp");
  ::signal(SIGPIPE, SIG_IGN);
  const std::string how = argv[1];
  const Claimed pool{argv[3], {argv[4], argv[5]}, argc == 7 ? argv[6] : ""};
  std::vector<std::unique_ptr<ClaimedServer>> held;
  claim_some(pool, how, std::strtoul(argv[2], nullptr, 10), held);
  std::string line;
  while (how != "each" && std::getline(std::cin, line)) {
    if (line.starts_with('+')) {
      claim_some(pool, how, std::strtoul(line.c_str() + 1, nullptr, 10), held);
    } else {
      ask_all(held, line);
    }
  }
  return 0;
}
