// kill_at [--files] [--victim K] N -- CMD…: runs CMD and kills it with SIGKILL at its N-th step
// (stepped.h), or with --victim the K-th process that is made below it. Says on stderr at which
// step, and waits until all that CMD started has ended. Exit status: 0 it was killed, 1 it got to
// its end before, 2 something is left, 125 wrong use.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tests/faults/stepped.h"

namespace {

constexpr int kWrongUse = 125;
constexpr std::chrono::seconds kTimeout{100};

int wrong_use() {
  std::fputs("usage: kill_at [--files] [--victim K] N -- CMD…\n", stderr);
  return kWrongUse;
}

}  // namespace

int main(int count, char** words) {
  thimble::test::StepPlan plan;
  int at = 1;
  for (; at < count && std::string_view(words[at]) != "--"; ++at) {
    const std::string_view word(words[at]);
    if (word == "--files") {
      plan.steps = thimble::test::Steps::kFiles;
    } else if (word == "--victim" && at + 1 < count) {
      plan.victim = static_cast<unsigned>(std::atoi(words[++at]));
    } else {
      plan.at = static_cast<unsigned>(std::atoi(words[at]));
    }
  }
  if (at + 1 >= count || plan.at == 0) return wrong_use();
  char** const command = words + at + 1;
  auto tree = thimble::test::SteppedTree::start(plan, [command] {
    ::execvp(command[0], command);
    return kWrongUse;
  });
  if (!tree) {
    std::fprintf(stderr, "kill_at: %s\n", tree.error().message.c_str());
    return kWrongUse;
  }
  const auto report = tree->finish(kTimeout);
  for (const std::string& left : report.left) {
    std::fprintf(stderr, "kill_at: left: %s\n", left.c_str());
  }
  if (!report.all_gone) return 2;
  if (!report.reached) {
    std::fprintf(stderr, "kill_at: it has %u steps\n", report.steps);
    return 1;
  }
  std::fprintf(stderr, "kill_at: killed at %s, step %u\n", report.call.c_str(), plan.at);
  return 0;
}
