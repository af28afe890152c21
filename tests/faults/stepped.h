// A tree of processes that is stopped at each step one of them takes, and hit at the n-th: killed
// there, or told that the step has failed. A step is a system call that makes, changes, joins or
// ends something (stepped_calls.cpp); it is not carried out any more. Walking n from 1 to the last
// step tries every moment at which a process can die, without a clock.
//
//   test                     tracer                          the tree
//   start(plan, body) ─────> fork, seize, filter ──────────> body(), its children, their children
//                            at each step: count, go on
//                            at the victim's n-th: SIGKILL, or -errno in place of the call
//   finish() <── report ──── all of them have ended
//
// A filter of ours (seccomp's "trace") names the steps, so that all other calls run at full speed;
// the filters that the processes put on themselves stay in force. When the tracer goes, so does all
// of the tree.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::test {

enum class Steps {
  kAll,
  kFiles,  // those that make, fill, name or remove files
};

struct StepPlan {
  Steps steps = Steps::kAll;
  unsigned victim = 0;  // 0: the process of the body; n: the n-th process that is made in the tree
  unsigned at = 0;      // the victim's step, from 1; 0: none is hit
  int error = 0;        // 0: SIGKILL; otherwise the step fails with this errno
};

struct StepReport {
  unsigned steps = 0;     // of the victim, until it ended
  bool reached = false;   // it was hit
  std::string call;       // where
  bool all_gone = false;  // within the time that finish() was given
  std::vector<std::string> left;
  int status = 0;  // of the body's process, as wait(2) gives it
};

class SteppedTree {
 public:
  // Forks, twice. `body` runs in a process of its own; its result is the exit status.
  static Result<SteppedTree> start(const StepPlan& plan, const std::function<int()>& body);
  SteppedTree(SteppedTree&& other) noexcept;
  SteppedTree& operator=(SteppedTree&&) = delete;
  SteppedTree(const SteppedTree&) = delete;
  SteppedTree& operator=(const SteppedTree&) = delete;
  ~SteppedTree();  // ends all that is left

  // The body's process.
  [[nodiscard]] pid_t pid() const { return body_; }

  // Waits until every process of the tree has ended; ends those that have not by then.
  StepReport finish(std::chrono::milliseconds timeout);

 private:
  SteppedTree(pid_t tracer, pid_t body, Fd report)
      : tracer_(tracer), body_(body), report_(std::move(report)) {}

  pid_t tracer_;
  pid_t body_;
  Fd report_;
};

// The filter that stops the calling process, and all that it makes, at each step
// (stepped_calls.cpp).
bool stop_at_steps(Steps steps);

}  // namespace thimble::test
