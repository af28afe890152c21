// Starts a program and says how long it took: by the clock of the box, in which a nanosecond is one
// executed instruction, and by the time that the box's processor was busy.
//
//   stopwatch marks TEXT… -- CMD…     until each TEXT appears on stdout; then CMD is killed
//   stopwatch exit TEXT -- CMD…       until TEXT was seen and CMD has exited with status 0
//   stopwatch lines COUNT FIRST NEXT -- CMD…
//                                     sends FIRST, then COUNT times NEXT, each after the answer to
//                                     the one before; a line for a line
//   stopwatch answer COUNT LINE -- CMD…
//                                     sends LINE at once; until the line that answers it. A list of
//                                     COUNT, after one that does not count
//   stopwatch memory TEXT -- CMD…     until TEXT; then the private memory of CMD and its children
//   stopwatch only -- CMD…            no times: becomes CMD
//
// `--root DIR` before these words makes DIR the root of the file tree for CMD, in a mount namespace
// of its own: in a chroot the kernel would refuse the user namespace that confines a VMM.
//
// Prints one JSON object. Clocks: CLOCK_MONOTONIC for `latency_ns`, and /proc/schedstat's time
// spent in tasks (not in the idle task) for `busy_ns`. Time starts right before exec in the child.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tools/bench/programs/clocks.h"

namespace {

using thimble::bench::busy_ns;
using thimble::bench::clock_ns;
using thimble::bench::give_up;

constexpr int kTimeoutMs = 600'000;  // of the box's clock
constexpr unsigned kWarmUp = 20;     // exchanges that do not count
// Between two runs, of the box's clock: what the first one leaves to others to clear is gone, and a
// daemon has made its next warm VM.
constexpr useconds_t kPauseUs = 1'000'000;

void enter_root(const std::string& root) {
  const char* path = root.c_str();
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, "") != 0 ||
      ::mount(path, path, "", MS_BIND | MS_REC, "") != 0 || ::chdir(path) != 0 ||
      ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 ||
      ::chdir("/") != 0) {
    give_up("make " + root + " the root");
  }
}

// What the child notes right before exec, in memory that both see.
struct Start {
  int64_t clock;
  int64_t busy;
};

struct Child {
  pid_t pid = -1;
  int to = -1;    // its stdin, or -1 when that is /dev/null
  int from = -1;  // its stdout
  const Start* start = nullptr;
};

Child start(char** command, bool with_input) {
  void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int in[2];
  int out[2];
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (shared == MAP_FAILED || nothing < 0 || ::pipe2(in, O_CLOEXEC) != 0 ||
      ::pipe2(out, O_CLOEXEC) != 0) {
    give_up("set up");
  }
  auto* begin = static_cast<Start*>(shared);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0);
    ::dup2(with_input ? in[0] : nothing, STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    begin->busy = busy_ns();
    begin->clock = clock_ns();
    ::execvp(command[0], command);
    std::perror(command[0]);
    ::_exit(127);
  }
  ::close(nothing);
  ::close(in[0]);
  ::close(out[1]);
  if (!with_input) ::close(in[1]);
  return {pid, with_input ? in[1] : -1, out[0], begin};
}

// Reads from the child until `text` is in what it said; false at its end.
bool await_text(const Child& child, std::string& said, const std::string& text) {
  while (said.find(text) == std::string::npos) {
    pollfd ready{child.from, POLLIN, 0};
    if (::poll(&ready, 1, kTimeoutMs) <= 0) return false;
    char buffer[65536];
    const ssize_t n = ::read(child.from, buffer, sizeof buffer);
    if (n <= 0) return false;
    said.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

[[noreturn]] void fail_with(const Child& child, const std::string& said, const std::string& why) {
  ::kill(-child.pid, SIGKILL);
  give_up(why + "; it said: " + said.substr(said.size() > 2000 ? said.size() - 2000 : 0));
}

void end(const Child& child) {
  ::kill(-child.pid, SIGKILL);
  ::waitpid(child.pid, nullptr, 0);
}

// One pair of times for each text, all since exec; the texts must come in this order.
void until_marks(const std::vector<std::string>& texts, char** command) {
  const Child child = start(command, false);
  std::string said;
  std::printf("{\"marks\": [");
  const char* separator = "";
  for (const std::string& text : texts) {
    if (!await_text(child, said, text)) fail_with(child, said, "never saw '" + text + "'");
    const int64_t clock = clock_ns() - child.start->clock;
    const int64_t busy = busy_ns() - child.start->busy;
    std::printf("%s{\"latency_ns\": %ld, \"busy_ns\": %ld}", separator, clock, busy);
    separator = ", ";
  }
  end(child);
  std::string json;
  for (const char c : said) {
    if (c == '"' || c == '\\') json += '\\';
    if (c == '\n') json += "\\n";
    if (static_cast<unsigned char>(c) >= ' ') json += c;
  }
  std::printf("], \"start_ns\": %ld, \"said\": \"%s\"}\n", child.start->clock, json.c_str());
}

void until_exit(const std::string& text, char** command) {
  const Child child = start(command, false);
  std::string said;
  if (!await_text(child, said, text)) fail_with(child, said, "never saw '" + text + "'");
  const int64_t seen = clock_ns();
  int status = 0;
  ::waitpid(child.pid, &status, 0);
  const int64_t clock = clock_ns();
  const int64_t busy = busy_ns();
  if (status != 0) fail_with(child, said, "wait status " + std::to_string(status));
  std::printf("{\"output_ns\": %ld, \"latency_ns\": %ld, \"busy_ns\": %ld}\n",
              seen - child.start->clock, clock - child.start->clock, busy - child.start->busy);
}

int64_t exchange(const Child& child, const std::string& line) {
  const int64_t begin = clock_ns();
  if (::write(child.to, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    fail_with(child, "", "could not send a line");
  }
  std::string answer;
  if (!await_text(child, answer, "\n")) fail_with(child, answer, "no answer to " + line);
  return clock_ns() - begin;
}

void exchange_lines(unsigned count, const std::string& first, const std::string& next,
                    char** command) {
  const Child child = start(command, true);
  exchange(child, first + "\n");
  for (unsigned i = 0; i < kWarmUp; ++i) exchange(child, next + "\n");
  std::vector<int64_t> latencies;
  latencies.reserve(count);
  const int64_t busy = busy_ns();
  for (unsigned i = 0; i < count; ++i) latencies.push_back(exchange(child, next + "\n"));
  const int64_t busy_each = (busy_ns() - busy) / count;
  std::sort(latencies.begin(), latencies.end());
  std::printf("{\"latency_ns\": %ld, \"min_ns\": %ld, \"max_ns\": %ld, \"busy_ns\": %ld}\n",
              latencies[count / 2], latencies.front(), latencies.back(), busy_each);
  end(child);
}

void until_answer(unsigned count, const std::string& line, char** command) {
  const std::string bytes = line + "\n";
  for (unsigned i = 0; i <= count; ++i) {
    const Child child = start(command, true);
    if (::write(child.to, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      fail_with(child, "", "could not send a line");
    }
    std::string said;
    if (!await_text(child, said, "\n")) fail_with(child, said, "no answer to " + line);
    const int64_t clock = clock_ns() - child.start->clock;
    const int64_t busy = busy_ns() - child.start->busy;
    end(child);
    ::close(child.to);
    ::close(child.from);
    if (i > 0) {
      std::printf("%s{\"latency_ns\": %ld, \"busy_ns\": %ld}", i == 1 ? "[" : ",\n", clock, busy);
    }
    ::usleep(kPauseUs);
  }
  std::puts("]");
}

// Private KiB of one process; mappings of 64 MiB and more are guest memory and counted apart.
struct Memory {
  long own_kib = 0;
  long guest_kib = 0;
};

Memory memory_of(pid_t pid) {
  constexpr unsigned long kGuestMemory = 64UL << 20;
  std::FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/smaps").c_str(), "re");
  if (file == nullptr) give_up("read smaps");
  Memory memory;
  bool guest = false;
  char line[512];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long from = 0;
    unsigned long to = 0;
    long kib = 0;
    if (std::sscanf(line, "%lx-%lx ", &from, &to) == 2) guest = to - from >= kGuestMemory;
    if (std::sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
        std::sscanf(line, "Private_Dirty: %ld", &kib) == 1) {
      (guest ? memory.guest_kib : memory.own_kib) += kib;
    }
  }
  std::fclose(file);
  return memory;
}

std::vector<pid_t> children_of(pid_t pid) {
  const std::string path =
      "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
  std::vector<pid_t> children;
  std::FILE* file = std::fopen(path.c_str(), "re");
  int child = 0;
  while (file != nullptr && std::fscanf(file, "%d", &child) == 1) children.push_back(child);
  if (file != nullptr) std::fclose(file);
  return children;
}

void memory_at(const std::string& text, char** command) {
  const Child child = start(command, false);
  std::string said;
  if (!await_text(child, said, text)) fail_with(child, said, "never saw '" + text + "'");
  // The process that holds the guest's memory is the VMM; what is above it is the front.
  std::vector<pid_t> all{child.pid};
  Memory vmm;
  Memory front;
  for (size_t i = 0; i < all.size(); ++i) {
    for (const pid_t below : children_of(all[i])) all.push_back(below);
    const Memory memory = memory_of(all[i]);
    if (memory.guest_kib > vmm.guest_kib) {
      front.own_kib += vmm.own_kib;
      vmm = memory;
    } else {
      front.own_kib += memory.own_kib;
    }
  }
  std::printf("{\"vmm_kib\": %ld, \"guest_kib\": %ld, \"front_kib\": %ld}\n", vmm.own_kib,
              vmm.guest_kib, front.own_kib);
  end(child);
}

}  // namespace

int main(int argc, char** argv) {
  int at = 1;
  while (at < argc && std::strcmp(argv[at], "--") != 0) ++at;
  std::vector<std::string> words(argv + 1, argv + std::min(at, argc));
  if (words.size() > 2 && words[0] == "--root") {
    enter_root(words[1]);
    words.erase(words.begin(), words.begin() + 2);
  }
  if (at + 1 >= argc || words.empty()) give_up("usage: see the first lines of stopwatch.cpp");
  char** command = argv + at + 1;
  const std::string& what = words[0];
  if (what == "only") {
    ::execvp(command[0], command);
    give_up("cannot start the command");
  } else if (what == "marks" && words.size() >= 2) {
    until_marks({words.begin() + 1, words.end()}, command);
  } else if (what == "exit" && words.size() == 2) {
    until_exit(words[1], command);
  } else if (what == "answer" && words.size() == 3) {
    until_answer(static_cast<unsigned>(std::stoul(words[1])), words[2], command);
  } else if (what == "memory" && words.size() == 2) {
    memory_at(words[1], command);
  } else if (what == "lines" && words.size() == 4) {
    exchange_lines(static_cast<unsigned>(std::stoul(words[1])), words[2], words[3], command);
  } else {
    give_up("unknown word " + what);
  }
  return 0;
}
