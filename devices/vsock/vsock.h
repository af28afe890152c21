// virtio-vsock (virtio 1.2, 5.10) wholly in user space: byte streams between ports of the guest and
// sockets of the host. docs/vsock.md tells how it is used.
//
//   guest  == tx queue ==>  take_packets()  ->  Connection  ->  host socket
//   guest  <== rx queue ==  give_packets()  <-  Connection  <-  host socket
//   guest  <== event queue: "all streams are gone" after a restore
//
// Who may send. The rx queue is the scarce thing: the guest may give no buffers for as long as it
// likes. So what is owed to the guest waits in three lines, served in this order, each bounded:
//   resets   for streams that are not (or no longer) in the table: at most kMaxResets, further ones
//            are not sent (the guest then runs into its own time limit)
//   control  connections that owe a REQUEST, RESPONSE, SHUTDOWN or credit packet, one turn each
//   data     connections whose socket has bytes and whose guest side has credit, one packet a turn
// A socket that is readable is watched again only after it was read empty, so a guest without
// buffers or credit costs nothing.
//
// Each round moves a bounded number of packets and then lets the event loop serve others.
//
// Threads. Sockets and timers belong to the event loop's thread. notify(), activate() and reset()
// may come from a vCPU thread: they leave the work to the loop's thread unless they are already
// there.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "devices/event_loop.h"
#include "devices/fd.h"
#include "devices/result.h"
#include "devices/state.h"
#include "devices/virtio/device.h"
#include "devices/vsock/connection.h"
#include "devices/vsock/host_listener.h"
#include "devices/vsock/packet.h"

namespace thimble {

// What survives a snapshot. Streams do not: the host's sockets stay behind, and the guest is told.
struct VsockState {
  uint64_t guest_cid = 0;
  // Not to be used again after a restore: the guest may still remember the old stream's port.
  uint32_t next_host_port = 0;
  void describe(StateVisitor& visitor);
};

struct VsockLimits {
  size_t max_connections = 1023;  // further ones are refused
  uint32_t window = 256 * 1024;   // bytes held per stream for a host socket that is full
  std::chrono::nanoseconds connect_limit = std::chrono::seconds(10);  // for the guest's answer
  std::chrono::nanoseconds close_limit = std::chrono::seconds(2);     // for the guest's last RST
  HostListener::Limits host_clients = {};
};

class VsockDevice final : public VirtioDevice {
 public:
  // Host ports of streams that the host opens.
  static constexpr uint32_t kFirstHostPort = 1U << 30;
  static constexpr uint32_t kLastHostPort = (1U << 31) - 1;
  static constexpr size_t kMaxResets = 2048;

  // Returns the host's end for a stream that the guest opens, a connected byte stream socket; an
  // empty Fd refuses. Called on the loop's thread with the device's lock held: must neither block
  // nor call this device (post to the loop instead).
  using Accept = std::function<Fd()>;
  using Connector = std::function<Result<Fd>(uint32_t port)>;
  // Asks for such a stream; opened() answers. Called likewise.
  using Opener = std::function<void(uint32_t port)>;
  // Questions without an answer; further requests are refused. A question counts until it is
  // answered, also when the guest gave up: else a guest that does so all the time could ask without
  // end.
  static constexpr size_t kMaxWaiting = 64;

  // The loop must outlive the device. To be destroyed on the loop's thread or when it has stopped.
  VsockDevice(uint64_t guest_cid, EventLoop& loop, VsockLimits limits = {});
  ~VsockDevice() override;
  VsockDevice(const VsockDevice&) = delete;
  VsockDevice& operator=(const VsockDevice&) = delete;

  // The calls below: from the loop's thread, or while the machine is being set up. They take the
  // lock.

  // Joins `stream`, a connected byte stream socket, with a port of the guest. Before the driver is
  // up the request waits, even over a driver's reset. When the guest refuses, does not answer, or
  // there are too many connections, the stream is closed.
  void connect(uint32_t guest_port, Fd stream);
  // Streams that the guest opens to `host_port`.
  void listen(uint32_t host_port, Accept accept);
  // … and to ports without a listener. None: refused.
  void set_connector(Connector connector);
  // … the same for streams that somebody else has to open: the guest's request waits for the
  // answer.
  void set_opener(Opener opener);
  // Every question is to be answered. Goes to the oldest request for that port that still waits; an
  // empty Fd refuses.
  void opened(uint32_t host_port, Fd stream);
  // Serves `CONNECT <port>` clients on a listening AF_UNIX socket (host_listener.h).
  Result<void> serve(Fd listener);

  std::vector<uint8_t> saved_state() override;
  Result<void> restore_state(std::span<const uint8_t> saved) override;

  // The machine is paused; the device goes on unchanged afterwards.
  VsockState save();
  // Before the transport's restore(): once the driver is active again it is told that all streams
  // are gone, and nothing else reaches it until it has taken note.
  Result<void> restore(const VsockState& state);

  [[nodiscard]] size_t connections();

  // VirtioDevice, with the lock held.
  [[nodiscard]] VirtioId id() const override { return VirtioId::kVsock; }
  [[nodiscard]] uint64_t features() const override;
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  void read_config(uint32_t offset, std::span<uint8_t> data) override;
  void activate(VirtioTransport& transport, uint64_t features) override;
  void notify(size_t index) override;
  void reset() override;

 private:
  enum QueueIndex : size_t { kRx = 0, kTx = 1, kEvent = 2 };
  // The event that all streams are gone: to be sent, sent and not yet taken note of, or neither.
  enum class ResetEvent { kNone, kDue, kSent };

  // A connection and what the device keeps beside it.
  struct Entry {
    explicit Entry(Connection c) : connection(std::move(c)) {}
    Connection connection;
    std::optional<uint32_t> watched;  // events that the loop watches for
    Connection::Wait timed = Connection::Wait::kNothing;
    EventLoop::TimerId timer = 0;
    // Places in the lines of those who owe the guest something.
    std::optional<std::list<Entry*>::iterator> control_place;
    std::optional<std::list<Entry*>::iterator> data_place;
  };

  // vsock.cpp: connections and their sockets.
  void join(uint32_t guest_port, Fd stream, bool say_ok);
  [[nodiscard]] uint32_t free_host_port(uint32_t guest_port);
  [[nodiscard]] Entry* find(PortPair ports);
  void add(Connection connection);
  void settle(Entry& entry);
  void settle_all();
  void remove(Entry& entry);
  void update_lines(Entry& entry, bool in_table);
  void update_watch(Entry& entry);
  void update_timer(Entry& entry);
  void socket_ready(Entry& entry, uint32_t events);
  void work();
  void work_soon();
  void work_later();

  // vsock_queues.cpp: packets.
  bool tell_reset();
  bool take_packets();
  void take_packet(const Chain& chain);
  void take_for(Entry& entry, const VsockHeader& header, const Chain& chain);
  void accept(const VsockHeader& request);
  void wait_for_opener(const VsockHeader& request);
  Fd open_host_stream(uint32_t port);
  bool give_packets();
  bool give_packet(Queue& rx, const Chain& chain);
  bool give_data(Queue& rx, const Chain& chain);
  void give(Queue& rx, const Chain& chain, VsockHeader header);
  [[nodiscard]] bool something_to_give() const;
  void refuse(const VsockHeader& packet);
  void queue_reset(const VsockHeader& header);

  EventLoop& loop_;
  const VsockLimits limits_;
  uint64_t guest_cid_;
  uint32_t next_host_port_ = kFirstHostPort;
  VirtioTransport* transport_ = nullptr;  // while the driver is active
  ResetEvent reset_event_ = ResetEvent::kNone;
  bool restored_ = false;

  std::unordered_map<Entry*, std::unique_ptr<Entry>> entries_;
  std::unordered_map<uint64_t, Entry*> table_;  // by ports; entries that drain are not in it
  std::unordered_map<uint32_t, Accept> listeners_;
  Connector connector_;
  Opener opener_;
  std::deque<VsockHeader> waiting_;  // requests of the guest that the opener works on
  size_t unanswered_ = 0;            // questions to the opener
  std::unique_ptr<HostListener> host_listener_;

  std::deque<VsockHeader> resets_;
  std::list<Entry*> control_line_;
  std::list<Entry*> data_line_;
  std::vector<iovec> pieces_;  // of the packet at hand

  std::thread::id loop_thread_;  // unknown until the loop first ran something of ours
  bool work_posted_ = false;
  bool settle_all_due_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for callbacks already posted
};

}  // namespace thimble
