// Processes beside a server, as their clients see them: a service with guest-init's own session as
// the guest, and no VM.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "pool/guest/exec_service.h"
#include "tests/unit/server-run/fake_vm.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;

// What a client has of its process.
struct Client {
  Fd socket;
  std::vector<Fd> streams;
  std::vector<ExecWords> heard;

  void receive() {
    auto received = receive_exec(socket.get());
    if (std::holds_alternative<ExecGone>(received)) {
      heard.push_back({"gone"});
      socket.reset();
    }
    auto* message = std::get_if<ExecMessage>(&received);
    if (message == nullptr) return;
    heard.push_back(message->words);
    if (!message->streams.empty()) streams = std::move(message->streams);
  }
  [[nodiscard]] bool has(const std::string& word) const {
    return !heard.empty() && heard.back()[0] == word;
  }
};

class ExecServiceTest : public testing::Test {
 protected:
  ExecServiceTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "thimble-exec-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    server_.arguments = {"cat"};
    server_.environment = {"PATH=/usr/bin:/bin", "KEPT=of the server", "CHANGED=no"};
    server_.workdir = "/tmp";
    auto vm = VmProcess::start(guest_without_vm(directory_), {}, false);
    EXPECT_TRUE(vm);
    guest_.emplace(std::move(*vm), GuestOrder{.server = server_});
    service_.emplace(listen(), server_, milliseconds(200));
    guest_->begin({.on_streams = [this](ServerStreams s) { streams_ = std::move(s); },
                   .on_there = [this] { there_ = true; },
                   .on_guest = [this](const GuestEvent& event) { service_->on_guest(event); },
                   .on_vm = [](const VmEvent&) {},
                   .on_closed = [] {},
                   .on_error = [](const Error& error) { ADD_FAILURE() << error.message; }});
    drive([this] { return there_; });
  }
  ~ExecServiceTest() override { std::filesystem::remove_all(directory_); }

  Fd listen() {
    Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    address_.sun_family = AF_UNIX;
    (directory_ / "exec").string().copy(address_.sun_path, sizeof address_.sun_path - 1);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
    EXPECT_EQ(::listen(listener.get(), 16), 0);
    return listener;
  }

  // The service's loop, until it is so.
  void drive(const std::function<bool()>& until, const std::vector<Client*>& clients = {}) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!until()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit) << "it takes too long";
      std::array<pollfd, GuestSession::kEntries + ExecService::kEntries> set{};
      std::ranges::copy(guest_->entries(), set.begin());
      std::ranges::copy(service_->entries(), set.begin() + GuestSession::kEntries);
      ASSERT_GE(::poll(set.data(), set.size(), 5), 0);
      const std::span<const pollfd> all(set);
      service_->serve(all.subspan<GuestSession::kEntries, ExecService::kEntries>(), *guest_);
      guest_->serve(all.first<GuestSession::kEntries>());
      service_->on_deadline(*guest_);
      for (Client* client : clients) {
        if (client->socket) client->receive();
      }
    }
  }

  Client ask(const ExecWords& words) {
    Client client{Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)), {}, {}};
    EXPECT_EQ(
        ::connect(client.socket.get(), reinterpret_cast<sockaddr*>(&address_), sizeof address_), 0);
    EXPECT_TRUE(send_exec(client.socket.get(), words));
    return client;
  }
  Client run(const std::string& script, ExecRequest request = {}) {
    request.command = {"sh", "-c", script};
    return ask(exec_words(request));
  }
  void until_heard(Client& client, const std::string& word) {
    drive([&] { return client.has(word); }, {&client});
  }
  static std::string read_all(const Fd& stream) {
    ::fcntl(stream.get(), F_SETFL, 0);
    std::string all;
    std::array<char, 4096> chunk{};
    ssize_t got = 0;
    while ((got = ::read(stream.get(), chunk.data(), chunk.size())) > 0) {
      all.append(chunk.data(), static_cast<size_t>(got));
    }
    return all;
  }
  [[nodiscard]] bool is_there(const std::string& name) const {
    return std::filesystem::exists(directory_ / name);
  }

  std::filesystem::path directory_;
  sockaddr_un address_{};
  ServerSpec server_;
  ServerStreams streams_;
  bool there_ = false;
  std::optional<GuestSession> guest_;
  std::optional<ExecService> service_;
};

TEST_F(ExecServiceTest, AProcessRunsAsTheServerDoesAndItsEndIsTold) {
  ExecRequest request;
  request.environment = {"CHANGED=yes", "ADDED=1"};
  Client client = run("echo $KEPT $CHANGED $ADDED; pwd; echo err >&2; exit 7", request);
  until_heard(client, "exited");
  EXPECT_EQ(client.heard, (std::vector<ExecWords>{{"streams"}, {"started"}, {"exited", "7"}}));
  ASSERT_EQ(client.streams.size(), 3u);
  EXPECT_EQ(read_all(client.streams[1]), "of the server yes 1\n/tmp\n");
  EXPECT_EQ(read_all(client.streams[2]), "err\n");
}

TEST_F(ExecServiceTest, ASignalAndItsNumberAsTheEnd) {
  Client client = run("exec sleep 60");
  until_heard(client, "started");
  EXPECT_TRUE(send_exec(client.socket.get(), {"signal", "15"}));
  until_heard(client, "killed");
  EXPECT_EQ(client.heard.back(), (ExecWords{"killed", "15"}));
}

TEST_F(ExecServiceTest, ATerminalHasTwoStreamsAndIsResized) {
  ExecRequest request;
  request.terminal = protocol::Window{24, 80};
  Client client = run("trap 'stty size; exit 0' WINCH; while :; do sleep 0.05; done", request);
  until_heard(client, "started");
  EXPECT_EQ(client.streams.size(), 2u);
  ::usleep(200000);  // for the trap
  EXPECT_TRUE(send_exec(client.socket.get(), {"resize", "40", "100"}));
  until_heard(client, "exited");
  EXPECT_NE(read_all(client.streams[1]).find("40 100"), std::string::npos);
}

TEST_F(ExecServiceTest, WhatCannotBeStartedIsToldWhy) {
  Client client = ask({"start", "--", "/no/such"});
  until_heard(client, "failed");
  EXPECT_EQ(client.heard.back()[1], std::to_string(protocol::kStepExec));
  EXPECT_EQ(client.heard.back()[2], std::to_string(ENOENT));
}

TEST_F(ExecServiceTest, OneWhoseClientIsGoneHangsUp) {
  const std::string mark = (directory_ / "hung-up").string();
  {
    Client client =
        run("trap 'touch " + mark + "; exit' HUP; echo up; while :; do sleep 0.05; done");
    until_heard(client, "started");
    char byte = 0;
    drive([&] { return ::recv(client.streams[1].get(), &byte, 1, MSG_DONTWAIT) == 1; });
  }
  drive([&] { return is_there("hung-up"); });
}

TEST_F(ExecServiceTest, OneThatDoesNotMindIsKilledAndItsNumberIsFreeAgain) {
  for (uint32_t i = 0; i < 2 * protocol::kMaxProcesses; ++i) {
    const std::string name = "alive-" + std::to_string(i);
    Client client = run("trap '' HUP PIPE; echo up; exec 1>&- 2>&-; while :; do touch " +
                        (directory_ / name).string() + "; sleep 0.02; done");
    until_heard(client, "started");
    drive([&] { return is_there(name); });
    client = {};
    drive([&] {
      std::filesystem::remove(directory_ / name);
      const auto until = std::chrono::steady_clock::now() + milliseconds(100);
      drive([&] { return std::chrono::steady_clock::now() > until; });
      return !is_there(name);
    });
  }
}

TEST_F(ExecServiceTest, TheNinthIsRefusedAndTheOthersGoOn) {
  std::vector<Client> clients;
  for (uint32_t i = 0; i < protocol::kMaxProcesses; ++i) {
    clients.push_back(run("read word; exit 3"));
    until_heard(clients.back(), "started");
  }
  Client late = run("true");
  until_heard(late, "failed");
  EXPECT_NE(late.heard.back()[3].find("already"), std::string::npos);
  for (Client& client : clients) {
    EXPECT_EQ(::send(client.streams[0].get(), "x\n", 2, MSG_NOSIGNAL), 2);
    until_heard(client, "exited");
    EXPECT_EQ(client.heard.back(), (ExecWords{"exited", "3"}));
  }
  Client again = run("exit 4");
  until_heard(again, "exited");
}

TEST_F(ExecServiceTest, WhoeverTalksNonsenseIsLeftAndTakesNothingWithIt) {
  Client good = run("read word; exit 5");
  until_heard(good, "started");
  for (const ExecWords& words : std::initializer_list<ExecWords>{
           {"what"}, {"start"}, {"signal", "9"}, {"start", "env", "--", "x"}}) {
    Client bad = ask(words);
    until_heard(bad, "gone");
  }
  Client rude = run("exec sleep 60");
  until_heard(rude, "started");
  EXPECT_TRUE(send_exec(rude.socket.get(), {"signal", "900"}));
  until_heard(rude, "gone");
  EXPECT_EQ(::send(good.streams[0].get(), "x\n", 2, MSG_NOSIGNAL), 2);
  until_heard(good, "exited");
}

}  // namespace
}  // namespace thimble::test
