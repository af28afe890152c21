// See idle_machine.h.
#include "tools/bench/programs/idle_machine.h"

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace thimble::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kWindow(100);
constexpr double kIdle = 0.9;

struct CpuTime {
  double idle = 0;
  double all = 0;
};

// The lines "cpu0 user nice system idle iowait …" of /proc/stat, in ticks.
std::vector<CpuTime> cpu_times() {
  std::ifstream stat("/proc/stat");
  std::vector<CpuTime> cpus;
  for (std::string line; std::getline(stat, line);) {
    if (!line.starts_with("cpu") || line[3] == ' ') continue;
    std::istringstream words(line);
    std::string name;
    words >> name;
    CpuTime cpu;
    constexpr int kIdleColumn = 3;
    constexpr int kWaitColumn = 4;
    double ticks = 0;
    for (int column = 0; words >> ticks; ++column) {
      cpu.all += ticks;
      if (column == kIdleColumn || column == kWaitColumn) cpu.idle += ticks;
    }
    cpus.push_back(cpu);
  }
  return cpus;
}

bool is_idle_now() {
  const std::vector<CpuTime> before = cpu_times();
  std::this_thread::sleep_for(kWindow);
  const std::vector<CpuTime> after = cpu_times();
  for (size_t i = 0; i < before.size() && i < after.size(); ++i) {
    const double all = after[i].all - before[i].all;
    if (all > 0 && (after[i].idle - before[i].idle) / all < kIdle) return false;
  }
  return true;
}

}  // namespace

void IdleMachine::wait() {
  ++waits_;
  const auto start = Clock::now();
  bool idle = is_idle_now();
  while (!idle && Clock::now() - start < timeout_) idle = is_idle_now();
  timeout_ -= Clock::now() - start;
  if (idle) ++found_idle_;
}

}  // namespace thimble::bench
