// See daemon.h.
#include "pool/daemon/daemon.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "devices/text.h"
#include "pool/template/clone.h"

namespace thimble {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

const char* name_of(Pool::Refusal::Kind kind) {
  return kind == Pool::Refusal::Kind::kLimit ? "limit" : "template";
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::create(Fd listener, DaemonOptions options) {
  auto loop = EpollLoop::create();
  if (!loop) return std::unexpected(loop.error());
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGHUP);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  Fd signals(::signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return fail_errno("make a signalfd");
  std::unique_ptr<Daemon> daemon(
      new Daemon(std::move(listener), std::move(options), std::move(*loop), std::move(signals)));
  daemon->listen();
  daemon->watch_signals();
  return daemon;
}

Daemon::Daemon(Fd listener, DaemonOptions options, std::unique_ptr<EpollLoop> loop, Fd signals)
    : listener_(std::move(listener)),
      options_(std::move(options)),
      loop_(std::move(loop)),
      signals_(std::move(signals)),
      pool_(std::make_unique<Pool>(world(), options_.limits)) {}

Daemon::~Daemon() = default;

PoolWorld Daemon::world() {
  PoolWorld world;
  world.loop = loop_.get();
  world.now = [] { return Clock::now(); };
  world.version_of = template_version;
  world.start_warm_vm = [this](const TemplateId& id, bool awaited) {
    return start_warm_vm(id, {.use_working_set = options_.working_sets && !awaited,
                              .reclaim_after = options_.reclaim_after});
  };
  world.on_ended = [this](uint64_t vm, const std::string& how) { on_vm_ended(vm, how); };
  world.log = [this](const std::string& line) { log(line); };
  return world;
}

void Daemon::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void Daemon::watch_signals() {
  loop_->watch(signals_.get(), EPOLLIN, [this](uint32_t) {
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
    log(text("signal %u: ending", info.ssi_signo));
    loop_->stop();
  });
}

Result<void> Daemon::run() {
  log(text("serving as pid %d", static_cast<int>(::getpid())));
  look_whether_idle();
  auto done = loop_->run();
  pool_.reset();
  log("ended");
  return done;
}

Result<void> Daemon::warm(const TemplateId& id, size_t warm_vms) {
  return pool_->warm(id, warm_vms);
}

void Daemon::look_whether_idle() {
  if (!options_.idle_exit) return;
  const auto now = Clock::now();
  if (!clients_.empty() || !pool_->idle()) last_used_ = now;
  if (now - last_used_ >= *options_.idle_exit) {
    log("not used any more: ending");
    return loop_->stop();
  }
  loop_->after(seconds(1), [this] { look_whether_idle(); });
}

// ---- connections
// ---------------------------------------------------------------------------------

void Daemon::listen() {
  loop_->watch(listener_.get(), EPOLLIN, [this](uint32_t) { on_connection(); });
}

// A client that cannot be taken in stays in the queue, and the socket readable: asking again at
// once would keep a processor busy until somebody else gives a descriptor back.
void Daemon::pause_listening() {
  log(text("a client has to wait: %s", std::strerror(errno)));
  loop_->unwatch(listener_.get());
  loop_->after(seconds(1), [this] { listen(); });
}

void Daemon::on_connection() {
  constexpr int kAtOnce = 16;
  for (int i = 0; i < kAtOnce; ++i) {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)) return;
    if (!socket) return pause_listening();
    admit(std::move(socket));
  }
}

// The folder keeps others out already; root, too, has a daemon of his own.
void Daemon::admit(Fd socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known = ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  if (!known || peer.uid != ::geteuid()) {
    log(text("a client of uid %u was turned away", known ? peer.uid : 0));
    return;
  }
  if (clients_.size() >= options_.max_clients) {
    send_datagram(socket.get(), dump({{"ok", false},
                                      {"kind", "limit"},
                                      {"error", "the daemon serves too many clients already"}}));
    return;
  }
  const int fd = socket.get();
  Client& client = clients_[fd];
  client.socket = std::move(socket);
  client.pid = peer.pid;
  client.timeout = loop_->after(options_.request_timeout, [this, fd] {
    clients_[fd].timeout.reset();
    drop(fd);
  });
  loop_->watch(fd, EPOLLIN, [this, fd](uint32_t) { on_request(fd); });
}

void Daemon::on_request(int client) {
  auto datagram = receive_datagram(client, kMaxRequest, 0);
  if (!datagram) return;
  if (datagram->text.empty()) return drop(client);
  if (datagram->cut) return refuse(client, "request", "the request is too long");
  auto request = parse_request(datagram->text);
  if (!request) return refuse(client, "request", request.error().message);
  Client& known = clients_.at(client);
  if (known.timeout) loop_->cancel(*std::exchange(known.timeout, std::nullopt));
  serve(client, *request);
}

void Daemon::serve(int client, const DaemonRequest& request) {
  switch (request.op) {
    case DaemonRequest::Op::kClaim:
      return claim(client, request);
    case DaemonRequest::Op::kWarm: {
      const auto done = pool_->warm(request.id, request.warm_vms);
      if (!done) return refuse(client, "template", done.error().message);
      return reply(client, dump({{"ok", true}}));
    }
    case DaemonRequest::Op::kStatus:
      return reply(client, status());
    case DaemonRequest::Op::kStop:
      log("asked to end");
      reply(client, dump({{"ok", true}}));
      return loop_->stop();
  }
}

void Daemon::claim(int client, const DaemonRequest& request) {
  Client& asking = clients_.at(client);
  if (std::exchange(asking.has_claimed, true)) {
    return refuse(client, "request", "one connection claims one VM");
  }
  asking.label = request.label;
  const uint64_t waiting = pool_->claim(request.id, request.console, [this, client](auto answer) {
    answer_claim(client, std::move(answer));
  });
  const auto found = clients_.find(client);
  if (found != clients_.end() && !found->second.vm) found->second.claim = waiting;
}

void Daemon::answer_claim(int client, std::expected<Pool::Claimed, Pool::Refusal> answer) {
  clients_.at(client).claim.reset();
  if (!answer) return refuse(client, name_of(answer.error().kind), answer.error().why);
  clients_.at(client).vm = answer->vm;
  const HandedOver& vm = answer->handed;
  const std::array descriptors{vm.channel.get(), vm.pidfd.get()};
  reply(client, dump({{"ok", true}, {"vm", answer->vm}, {"pid", vm.pid}, {"exposed", vm.exposed}}),
        descriptors);
}

void Daemon::refuse(int client, const char* kind, const std::string& why) {
  reply(client, dump({{"ok", false}, {"kind", kind}, {"error", why}}));
  drop(client);
}

// A client that does not read what it asked for has no use for it either.
void Daemon::reply(int client, const std::string& text, std::span<const int> descriptors) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  if (!send_datagram(client, text, descriptors)) drop(client);
}

void Daemon::drop(int client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  loop_->unwatch(client);
  const Client gone = std::move(found->second);
  clients_.erase(found);
  if (gone.timeout) loop_->cancel(*gone.timeout);
  if (gone.claim) pool_->cancel(*gone.claim);
  if (gone.vm) pool_->give_back(*gone.vm);
  last_used_ = Clock::now();
}

void Daemon::on_vm_ended(uint64_t vm, const std::string& how) {
  for (auto& [fd, client] : clients_) {
    if (client.vm != vm) continue;
    client.vm.reset();
    return reply(fd, dump({{"ended", how}}));
  }
}

// ---- what people ask for
// -------------------------------------------------------------------------

std::string Daemon::status() const {
  json templates = json::array();
  for (const auto& one : pool_->templates()) {
    templates.push_back({{"template", one.id.name},
                         {"store", one.id.store},
                         {"preparing", one.preparing},
                         {"ready", one.ready},
                         {"claimed", one.claimed},
                         {"waiting", one.waiting},
                         {"claims", one.claims},
                         {"misses", one.misses},
                         {"failing", one.failing}});
  }
  std::map<uint64_t, const Client*> owners;
  for (const auto& [fd, client] : clients_) {
    if (client.vm) owners[*client.vm] = &client;
  }
  json vms = json::array();
  for (const auto& one : pool_->vms()) {
    json vm = {{"vm", one.vm},
               {"pid", one.pid},
               {"template", one.of.name},
               {"state", one.state},
               {"memory_bytes", one.memory_bytes},
               {"age_ms", one.age.count()}};
    if (const auto owner = owners.find(one.vm); owner != owners.end()) {
      vm["client"] = owner->second->pid;
      vm["label"] = owner->second->label;
    }
    vms.push_back(std::move(vm));
  }
  const PoolLimits& limits = pool_->limits();
  json all = {
      {"ok", true},
      {"pid", ::getpid()},
      {"uptime_s", (Clock::now() - begin_) / seconds(1)},
      {"clients", clients_.size()},
      {"limits", {{"max_vms", limits.max_vms}, {"max_memory_bytes", limits.max_memory_bytes}}},
      {"templates", std::move(templates)},
      {"vms", std::move(vms)}};
  std::string text = dump(all);
  if (text.size() <= kMaxReply) return text;
  all["vms"] = json::array();
  all["too_many_to_list"] = true;
  return dump(all);
}

}  // namespace thimble
