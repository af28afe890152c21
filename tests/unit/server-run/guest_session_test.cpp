// The handshake with a guest, as whoever drives it hears it: with guest-init's own session as the
// guest, with a frozen one, and with guests that say little or nothing.
#include "pool/guest/guest_session.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "pool/guest/guest_identity.h"
#include "tests/unit/server-run/fake_vm.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;

class GuestSessionTest : public testing::Test {
 protected:
  GuestSessionTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "thimble-session-XXXXXX").string();
    directory = mkdtemp(pattern.data());
    server.arguments = {"sh", "-c", "read word; exit 7"};
    server.environment = {"PATH=/usr/bin:/bin"};
  }
  ~GuestSessionTest() override { std::filesystem::remove_all(directory); }

  // Drives the session until `heard` ends with one of these words, or its deadline has passed.
  void drive(const VmProcess::Body& body, GuestOrder order, const std::string& until) {
    auto vm = VmProcess::start(body, {}, false);
    ASSERT_TRUE(vm) << vm.error().message;
    GuestSession session(std::move(*vm), std::move(order));
    session.begin(listener(session));
    while (heard.empty() || heard.back() != until) {
      const auto deadline = session.deadline();
      if (deadline && GuestSession::Clock::now() > *deadline) {
        heard.emplace_back("deadline");
        return;
      }
      auto entries = session.entries();
      ASSERT_GE(::poll(entries.data(), entries.size(), 20), 0);
      session.serve(entries);
    }
  }

  GuestSession::Listener listener(GuestSession& session) {
    return {.on_streams =
                [this](ServerStreams connected) {
                  streams = std::move(connected);
                  heard.emplace_back("streams");
                },
            .on_there =
                [this, &session] {
                  heard.emplace_back("there");
                  if (on_there) on_there(session);
                },
            .on_guest = [this](const GuestEvent& event) { heard.push_back(word_for(event)); },
            .on_vm =
                [this](const VmEvent& event) {
                  if (event.kind == VmEvent::Kind::kEnded) heard.emplace_back("VM ended");
                  if (event.kind == VmEvent::Kind::kLost) heard.emplace_back("VM lost");
                },
            .on_closed = [] {},
            .on_error = [this](const Error& error) { heard.push_back(error.message); }};
  }

  static std::string word_for(const GuestEvent& event) {
    if (event.kind == GuestEvent::Kind::kExited) {
      return "exited with " + std::to_string(event.exit_code.value_or(999));
    }
    if (event.kind == GuestEvent::Kind::kNotice) return "notice " + event.text;
    return event.kind == GuestEvent::Kind::kStarted ? "started" : "event";
  }

  std::filesystem::path directory;
  ServerSpec server;
  ServerStreams streams;
  std::vector<std::string> heard;
  std::function<void(GuestSession&)> on_there;
};

using Words = std::vector<std::string>;

TEST_F(GuestSessionTest, AFreshGuestStartsTheServerWithItsStreamsBefore) {
  on_there = [this](GuestSession& session) {
    EXPECT_FALSE(session.deadline());
    EXPECT_EQ(::send(streams.input.get(), "word\n", 5, MSG_NOSIGNAL), 5);
  };
  drive(guest_without_vm(directory), {.server = server}, "exited with 7");
  EXPECT_EQ(heard, (Words{"streams", "there", "exited with 7"}));
}

TEST_F(GuestSessionTest, AFrozenGuestGoesOnWithTheServerThatItHas) {
  on_there = [this](GuestSession&) {
    EXPECT_EQ(::send(streams.input.get(), "word\n", 5, MSG_NOSIGNAL), 5);
  };
  ServerSpec other = server;
  other.arguments = {"false"};
  drive(frozen_guest_without_vm(directory, server), {.server = other}, "exited with 7");
  EXPECT_EQ(heard, (Words{"streams", "there", "exited with 7"}));
}

TEST_F(GuestSessionTest, WithoutAServerTheGuestIsLeftConfiguredForTheListener) {
  on_there = [this](GuestSession& session) {
    EXPECT_EQ(session.control().state(), GuestControl::State::kConfigured);
    server.detached = true;
    EXPECT_TRUE(session.control().start(server));
    session.flush();
  };
  drive(guest_without_vm(directory), {}, "started");
  EXPECT_EQ(heard, (Words{"there", "started"}));
}

// Its last words lie in the channel when the VMM's end is heard.
TEST_F(GuestSessionTest, WhatAGuestSaidBeforeTheEndOfItsVmIsHeardBeforeThat) {
  const auto body = [](int channel) {
    (void)send_vm_message(channel, VmMessageType::kReady, 0, "");
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return 1;
    // The end goes out first, so that it is what is served first.
    (void)send_vm_message(channel, VmMessageType::kEnded,
                          static_cast<uint32_t>(End::Kind::kPowerOff), "off");
    say_hello(message->stream.get());
    say_notice(message->stream.get(), "goodbye");
    ::shutdown(message->stream.get(), SHUT_WR);
    for (;;) ::pause();
    return 0;
  };
  auto vm = VmProcess::start(body, {}, false);
  ASSERT_TRUE(vm) << vm.error().message;
  GuestSession session(std::move(*vm), {});
  session.begin(listener(session));
  while (heard.empty() || heard.back() != "VM ended") {
    // Only the VM's side is polled for: the guest's bytes are there when its end is.
    auto entries = session.entries();
    ASSERT_GE(::poll(&entries[1], 1, -1), 0);
    ::usleep(entries[0].fd >= 0 ? 200000 : 0);
    entries[0].revents = 0;
    session.serve(entries);
  }
  EXPECT_EQ(heard, (Words{"notice goodbye", "VM ended"}));
}

// What the boot took is not to be missing from the guest's clock.
TEST_F(GuestSessionTest, TheTimeIsThatOfTheHandshakeNotOfTheOrder) {
  const uint64_t ordered = wall_clock_ns();
  const auto body = guest_that([](int control) {
    ::usleep(100000);
    say_hello(control);
    say_notice(control, std::to_string(read_wall_clock(control)));
  });
  GuestOrder order;
  order.identity.wall_clock_ns = ordered;
  heard.emplace_back("");
  auto vm = VmProcess::start(body, {}, false);
  ASSERT_TRUE(vm) << vm.error().message;
  GuestSession session(std::move(*vm), std::move(order));
  session.begin(listener(session));
  while (!heard.back().starts_with("notice ")) {
    auto entries = session.entries();
    ASSERT_GE(::poll(entries.data(), entries.size(), -1), 0);
    session.serve(entries);
  }
  EXPECT_GE(std::stoull(heard.back().substr(7)), ordered + 100'000'000);
}

TEST_F(GuestSessionTest, AGuestThatSaysNothingMissesItsDeadline) {
  drive(guest_that([](int) {}), {.start_limit = milliseconds(100)}, "never");
  EXPECT_EQ(heard, (Words{"deadline"}));
}

TEST_F(GuestSessionTest, ACloneThatSaysNothingMissesItsOwnDeadlineAndOneThatSpokeTheOther) {
  drive(guest_that([](int) {}),
        {.is_clone = true, .start_limit = std::chrono::hours(1), .clone_limit = milliseconds(100)},
        "never");
  EXPECT_EQ(heard, (Words{"deadline"}));
  heard.clear();
  drive(guest_that(say_hello),
        {.is_clone = true, .start_limit = milliseconds(100), .clone_limit = std::chrono::hours(1)},
        "never");
  EXPECT_EQ(heard, (Words{"deadline"}));
}

}  // namespace
}  // namespace thimble::test
