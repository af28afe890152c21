// The daemon that owns a user's pool: serves claims on a socket that only this user reaches
// (daemon_wire.h), holds every VM as its child, and hands the VM channel and a pidfd to
// whoever claimed it, so that no byte of a server's passes through it.
//
//   client                      daemon                         VM process
//   claim  ------------------>  pool: a warm VM
//                               claim  ----------------------> maps the template, runs
//          <-- channel, pidfd --
//   control, stdin, stdout <==============================>    (VM channel, streams)
//   closes its connection  -->  kills the VM, makes another warm VM
//
// One thread, which forks the VM processes and so must be the one that lives as long as they do
// (bound_child.h). When the daemon dies, however that happens, every VM dies with it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/daemon/daemon_wire.h"
#include "pool/pool.h"
#include "vmm/epoll_loop.h"

namespace thimble {

struct DaemonOptions {
  PoolLimits limits;
  bool working_sets = true;  // warm VMs prefault those of their templates
  std::optional<std::chrono::milliseconds> reclaim_after;  // VmSpec::reclaim_after
  // Ends by itself after so long without a client, a VM and a template in use. Nothing: never.
  std::optional<std::chrono::seconds> idle_exit;
  size_t max_clients = 1024;
  // A client that has connected must say what it wants.
  std::chrono::milliseconds request_timeout{10'000};
  std::function<void(const std::string& line)> log;
};

class Daemon {
 public:
  // `listener`: a listening AF_UNIX SOCK_SEQPACKET socket, non-blocking.
  static Result<std::unique_ptr<Daemon>> create(Fd listener, DaemonOptions options);
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();

  // Until stop(), SIGTERM, SIGINT (which are blocked in this thread from create() on), or the end
  // of its use.
  Result<void> run();
  Result<void> warm(const TemplateId& id, size_t warm_vms);

 private:
  using Clock = std::chrono::steady_clock;
  struct Client {
    Fd socket;
    pid_t pid = -1;
    std::string label;
    std::optional<EventLoop::TimerId> timeout;
    std::optional<uint64_t> claim;  // that waits
    std::optional<uint64_t> vm;
    bool has_claimed = false;
  };

  Daemon(Fd listener, DaemonOptions options, std::unique_ptr<EpollLoop> loop, Fd signals);
  PoolWorld world();
  void watch_signals();

  void listen();
  void pause_listening();
  void on_connection();
  void admit(Fd socket);
  void on_request(int client);
  void serve(int client, const DaemonRequest& request);
  void claim(int client, const DaemonRequest& request);
  void answer_claim(int client, std::expected<Pool::Claimed, Pool::Refusal> answer);
  void refuse(int client, const char* kind, const std::string& why);
  void reply(int client, const std::string& text, std::span<const int> descriptors = {});
  void drop(int client);
  void on_vm_ended(uint64_t vm, const std::string& how);
  [[nodiscard]] std::string status() const;
  void look_whether_idle();
  void log(const std::string& line) const;

  Fd listener_;
  DaemonOptions options_;
  std::unique_ptr<EpollLoop> loop_;
  Fd signals_;
  std::map<int, Client> clients_;  // by descriptor
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_used_ = Clock::now();
  std::unique_ptr<Pool> pool_;  // goes first: its VMs end
};

}  // namespace thimble
