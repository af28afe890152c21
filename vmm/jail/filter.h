// System call filters (seccomp): for each kind of thread the calls that it needs, and no others.
// What they are and why each is there stands in filter_tables.cpp.
//
// A call outside the list is not carried out. The thread gets SIGSYS, whose handler can tell from
// the signal's siginfo which call it was, in which kind of thread, and where to report it
// (violation_of()). A thread that blocks the signal, or a call in the wrong ABI, ends the process
// at once.
#pragma once

#include <linux/filter.h>
#include <signal.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble {

enum class FilteredThread : uint8_t {
  kVcpu = 1,
  kLoop = 2,
  kDiskWorker = 3,
  kMessenger = 4,  // receives from the parent: the VM channel, what is typed at the console
  kWarmVm = 5,     // an event loop to be: until the claim, and without a guest
};

inline constexpr std::array kFilteredThreads{FilteredThread::kVcpu, FilteredThread::kLoop,
                                             FilteredThread::kDiskWorker,
                                             FilteredThread::kMessenger, FilteredThread::kWarmVm};

// "vCPU thread"
const char* name_of(FilteredThread thread);

// A condition on one argument: (argument & mask) == value.
struct ArgumentIs {
  unsigned argument;
  uint64_t mask;
  uint64_t value;
};

// One row of a list. A call with several rows is allowed when any of them fits.
struct AllowedCall {
  int call;
  const char* why;
  std::span<const ArgumentIs> all_of = {};
};

std::span<const AllowedCall> calls_allowed_in(FilteredThread thread);

class Filter {
 public:
  // `report` is the descriptor that violation_of() gives back; below 4096.
  static Result<Filter> of(FilteredThread thread, int report);

  // On the calling thread, for good; no_new_privs must be set. Threads that it makes afterwards
  // would have it too.
  [[nodiscard]] Result<void> install() const;

  [[nodiscard]] size_t instructions() const { return program_.size(); }

 private:
  explicit Filter(std::vector<sock_filter> program) : program_(std::move(program)) {}
  std::vector<sock_filter> program_;
};

struct Violation {
  int call = -1;
  uint8_t thread = 0;  // FilteredThread, if it is one
  int report = -1;
};

// For a SIGSYS handler.
Violation violation_of(const siginfo_t& info);

// "socket (41)"
std::string name_of_call(int call);

}  // namespace thimble
