// The life of one guest as the host steers it: hello, configure, start, stdio, end, exited. One
// poll loop over the control channel, the processes and their stdio, SIGCHLD and the timers of the
// orderly end.
// It knows nothing of virtual machines, so that tests run it as an ordinary process.
#pragma once

#include <stdint.h>

#include "guest-init/child.h"
#include "guest-init/codec.h"
#include "guest-init/control.h"
#include "guest-init/idle.h"
#include "guest-init/process.h"

namespace thimble::init {

// What the session needs from the machine it runs in. Functions get `context` back.
struct Platform {
  void* context = nullptr;
  // Identity and mounts; false with the failure filled in.
  bool (*configure)(void* context, const Configure& message, Failure& failure) = nullptr;
  // The wall clock; false with the failure filled in. Null = it cannot be set here.
  bool (*set_clock)(void* context, uint64_t since_epoch_ns, Failure& failure) = nullptr;
  // Processes of the server that the kernel killed for lack of memory so far.
  uint32_t (*oom_kills)(void* context) = nullptr;
  // Processor time that the server has used so far, in milliseconds; null = not known.
  uint64_t (*cpu_ms)(void* context) = nullptr;
  // Stops all of the server's processes, or lets them go on; false with the failure filled in. When
  // it returns true, no instruction of the server runs any more.
  bool (*freeze)(void* context, bool frozen, Failure& failure) = nullptr;
  // What the server's threads do; `input` is init's end of the server's stdin.
  void (*look)(void* context, int input, IdleLook& look) = nullptr;
  // A process of the frozen server whose random numbers are not reseeded in a clone, for people;
  // false when there is none. Null = nobody looks.
  bool (*find_unreseeded)(void* context, char* who, size_t capacity) = nullptr;
  // A socket from open_names(); -1 = nobody answers for names.
  int names = -1;
  ChildSettings child;
  // Sent to the host's log after the hello; null = nothing to say.
  const char* notice = nullptr;
};

// Large (its buffers are inside): give it static storage. One session for each process, because
// it takes over SIGCHLD.
class Session {
 public:
  // Takes over both listening sockets and blocks SIGCHLD, ignores SIGPIPE.
  void open(int control_listener, int stream_listener, const Platform& platform);

  // Returns when the machine is to be powered off.
  void run();

 private:
  enum class State { kFresh, kConfigured, kStarted };
  enum class Ending { kNone, kTerminated, kKilled };
  enum class Freezing { kNo, kAwaitingIdle, kFrozen };

  // A connection to the stream port whose preface has not fully come.
  struct Guest {
    int fd = -1;
    size_t got = 0;
    int index = PollSet::kNone;
    char preface[sizeof(protocol::StreamPreface)] = {};
  };
  static constexpr int kMaxUnnamed = 4;

  void wait_and_serve();
  void add_connections(PollSet& set);
  void run_relays(const PollSet& set);
  void accept_control();
  void accept_stream();
  void read_preface(Guest& guest);
  void attach_stream(int fd, const protocol::StreamPreface& preface);
  // The server or one beside it; null: there is no such number.
  [[nodiscard]] Process* find(uint32_t process);
  [[nodiscard]] uint32_t number_of(const Process& process) const;
  void serve_control();
  // Null when handled, otherwise why the message is a protocol error.
  const char* dispatch(const Frame& frame);
  const char* on_configure(const Frame& frame);
  const char* on_start(const Frame& frame);
  const char* start_server_process();
  const char* start_beside(Process& process);
  const char* on_signal(const Frame& frame);
  const char* on_ping(const Frame& frame);
  const char* on_end(const Frame& frame);
  const char* on_set_clock(const Frame& frame);
  const char* on_resize(const Frame& frame);
  // session_freeze.cpp
  const char* on_freeze(const Frame& frame);
  const char* on_thaw(const Frame& frame);
  void freeze_now();
  void look_for_idle();
  void lose_host();
  [[nodiscard]] bool is_frozen() const { return freezing_ == Freezing::kFrozen; }
  [[nodiscard]] uint32_t guest_state() const;
  [[nodiscard]] bool takes_streams(const Process& process) const;
  [[nodiscard]] bool awaits_streams(const Frame& frame);
  [[nodiscard]] bool runs_others() const;
  void send_notice(const char* text);
  void send_failed(const Failure& failure, uint32_t process = protocol::kServerProcess);
  void protocol_error(const char* why);
  void reap_children();
  void report_ends();
  void report_end(Process& process);
  void end_when_due();
  void note_activity();
  [[nodiscard]] uint64_t server_cpu_ms() const;
  [[nodiscard]] bool server_worked() const;
  [[nodiscard]] uint64_t next_deadline() const;

  Platform platform_;
  int control_listener_ = -1;
  int stream_listener_ = -1;
  int child_events_ = -1;  // signalfd
  int control_index_ = PollSet::kNone;
  int stream_index_ = PollSet::kNone;
  int child_index_ = PollSet::kNone;
  int names_index_ = PollSet::kNone;
  bool power_off_ = false;

  State state_ = State::kFresh;
  Ending ending_ = Ending::kNone;
  Freezing freezing_ = Freezing::kNo;
  bool identity_known_ = false;    // the host that is connected now has configured this guest
  uint64_t idle_deadline_ms_ = 0;  // when waiting for the server to settle is given up
  uint64_t next_look_ms_ = 0;
  IdleWatch idle_;
  bool detached_ = false;  // its streams may come after its start
  uint32_t stdin_grace_ms_ = 0;
  uint32_t term_grace_ms_ = 0;
  uint64_t last_activity_ms_ = 0;  // bytes moved to or from the server
  bool sampled_ = false;           // cpu_sample_ms_ was taken since the last activity
  uint64_t cpu_sample_ms_ = 0;     // the server's processor time half a grace after it
  uint64_t terminated_ms_ = 0;     // when SIGTERM was sent

  ControlChannel control_;
  static constexpr uint32_t kProcesses = 1 + protocol::kMaxProcesses;
  Process processes_[kProcesses];  // by their numbers
  Process& server_ = processes_[protocol::kServerProcess];
  Guest unnamed_[kMaxUnnamed];
  Configure configure_;
  Start start_;
  Freeze freeze_;
  Process::Buffers buffers_[kProcesses];
};

}  // namespace thimble::init
