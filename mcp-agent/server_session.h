// What run_server() does with a guest (pool/guest/guest_session.h) whose server is the user's:
// reacts to what comes of it, to signals and deadlines; moves no bytes of the server's itself.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "mcp-agent/clock_watch.h"
#include "mcp-agent/server_run.h"
#include "mcp-agent/signals.h"
#include "mcp-agent/stdio_bridge.h"
#include "pool/guest/exec_service.h"
#include "pool/guest/guest_session.h"

namespace thimble {

class ServerSession {
 public:
  ServerSession(VmProcess vm, SignalSource signals, ServerRun run);
  ServerSession(const ServerSession&) = delete;
  ServerSession& operator=(const ServerSession&) = delete;

  // Until the server has ended and its output was written out. The exit status.
  int loop();

 private:
  using Clock = std::chrono::steady_clock;
  using Deadline = std::optional<Clock::time_point>;

  void poll_once();
  [[nodiscard]] int poll_timeout() const;

  void on_signal(int signal);
  void on_vm_event(const VmEvent& event);
  void on_vm_gone(const VmEvent& event);
  void on_refused(const std::string& why);
  [[nodiscard]] bool is_mute_clone() const;
  [[nodiscard]] GuestSession::Listener listener();
  void on_closed();
  void on_guest_event(const GuestEvent& event);
  void on_deadlines();
  void on_clock();

  void on_there();
  void on_failed(const GuestEvent& event);
  void on_exited(const GuestEvent& event);
  void say_oom_kills(uint32_t count);
  void next_step_of_timeout();
  void watch_client();
  void next_step_without_client();
  void watch_drain();
  void tell_output_errors();
  [[nodiscard]] int status_of_output(int server_status) const;

  void record_working_set();
  void on_recorded();

  void notice(std::string_view line);
  // A line of ours, at the beginning of a line.
  void tell(std::string_view line);
  // Ends the run with an exit status; what the user has to know goes first. Only the first counts.
  void finish(int status, std::string_view message = {});
  void check_drained();

  SignalSource signals_;
  ServerRun run_;
  GuestSession guest_;
  std::optional<ClockWatch> clock_;  // while the server runs
  std::optional<StdioBridge> bridge_;
  std::optional<ExecService> exec_;  // while the server runs
  std::string vm_end_;               // why the VM ended, when it did

  Deadline timeout_deadline_;
  int timeout_step_ = 0;
  Deadline unheard_deadline_;  // the client is gone
  int unheard_step_ = 0;
  Deadline answer_deadline_;  // a ping is on its way
  int asked_to_end_ = 0;      // the signal that it went with
  Clock::time_point asked_at_;
  Deadline drain_deadline_;  // the server was ended, and nobody takes what it had written
  uint64_t drained_ = 0;
  bool output_error_told_ = false;
  uint64_t stderr_lost_told_ = 0;
  Deadline vm_end_deadline_;  // the guest closed its control channel: its end should follow

  Fd working_set_;  // being recorded
  Deadline recorded_deadline_;

  std::optional<int> server_status_;  // what the server's end means for our exit status
  std::optional<int> result_;
};

}  // namespace thimble
