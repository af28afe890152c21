// Stand-ins for what guest-init asks the machine: the server's processes are those whose parent is
// a child of the session's process, stopped by signals where a guest has a cgroup's freezer.
#pragma once

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "guest-init/session.h"

namespace thimble::test {

// 0 for a process that has ended.
inline pid_t parent_of(const std::string& process) {
  std::ifstream stat("/proc/" + process + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return 0;
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::string state;
  pid_t parent = 0;
  fields >> state >> parent;
  return parent;
}

// Calls `visit` with the pid of every server of this process that still runs.
template <class Visit>
void for_each_server(Visit visit) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    const pid_t parent = parent_of(name);
    if (parent > 1 && parent_of(std::to_string(parent)) == getpid()) visit(std::stoi(name));
  }
}

// `context` is a std::string: a directory to work in. With a file "busy" in it the server has had
// a processor for itself all the time, else none: what this machine gives it is chance.
inline uint64_t fake_cpu_ms(void* context) {
  if (!std::filesystem::exists(*static_cast<std::string*>(context) + "/busy")) return 0;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

inline bool fake_freeze(void*, bool frozen, init::Failure&) {
  for_each_server([&](pid_t pid) { kill(-pid, frozen ? SIGSTOP : SIGCONT); });
  return true;
}

// `context` as above.
inline void fake_look(void* context, int input, init::IdleLook& found) {
  const std::string processes = *static_cast<std::string*>(context) + "/processes";
  {
    std::ofstream list(processes);
    for_each_server([&](pid_t pid) { list << pid << '\n'; });
  }
  init::look_at_server(processes.c_str(), input, found);
}

// `context` as above: what its file "unreseeded" says.
inline bool fake_find_unreseeded(void* context, char* who, size_t capacity) {
  std::ifstream file(*static_cast<std::string*>(context) + "/unreseeded");
  std::string line;
  if (!std::getline(file, line)) return false;
  who[line.copy(who, capacity - 1)] = '\0';
  return true;
}

}  // namespace thimble::test
