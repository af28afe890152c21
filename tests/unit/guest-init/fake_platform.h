// Stand-ins for what guest-init asks the machine: the server's processes are the children of the
// session's process, stopped by signals where a guest has a cgroup's freezer.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "guest-init/session.h"

namespace thimble::test {

// Calls `visit` with the pid and the processor ticks of every child of this process that still
// runs.
template <class Visit>
void for_each_child(Visit visit) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string line;
    if (!std::getline(stat, line)) continue;
    std::istringstream fields(line.substr(line.rfind(')') + 2));
    std::string skip;
    int parent = 0;
    uint64_t user = 0;
    uint64_t system = 0;
    fields >> skip >> parent;
    for (int i = 0; i < 9; ++i) fields >> skip;
    fields >> user >> system;
    if (parent == getpid()) visit(std::stoi(entry.path().filename()), user + system);
  }
}

inline uint64_t fake_cpu_ms(void*) {
  uint64_t ticks = 0;
  for_each_child([&](pid_t, uint64_t used) { ticks += used; });
  return ticks * 1000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
}

inline bool fake_freeze(void*, bool frozen, init::Failure&) {
  for_each_child([&](pid_t pid, uint64_t) { kill(-pid, frozen ? SIGSTOP : SIGCONT); });
  return true;
}

// `context` is a std::string: a directory to work in.
inline void fake_look(void* context, int input, init::IdleLook& found) {
  const std::string processes = *static_cast<std::string*>(context) + "/processes";
  {
    std::ofstream list(processes);
    for_each_child([&](pid_t pid, uint64_t) { list << pid << '\n'; });
  }
  init::look_at_server(processes.c_str(), input, found);
}

}  // namespace thimble::test
