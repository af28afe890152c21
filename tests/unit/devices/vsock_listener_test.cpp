// The CONNECT convention on the host's AF_UNIX socket, alone and through the device to a guest.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/un.h>

#include "devices/vsock/host_listener.h"
#include "tests/unit/devices/fake_vsock_driver.h"

namespace thimble {
namespace {

using fake::VsockDriver;

// A listening socket in the abstract namespace: no file to clean up.
struct Door {
  Door() {
    listener.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    address.sun_family = AF_UNIX;
    // An address of the kernel's choice.
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) != 0 ||
        ::listen(listener.get(), 128) != 0 ||
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::abort();
    }
  }
  [[nodiscard]] Fd connect() const {
    Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
      std::abort();
    }
    return client;
  }
  [[nodiscard]] Fd connect(std::string_view line) const {
    Fd client = connect();
    fake::write_all(client.get(), line);
    return client;
  }
  Fd listener;
  sockaddr_un address{};
  socklen_t length = sizeof(address);
};

struct Served {
  explicit Served(HostListener::Limits limits = {})
      : listener(std::move(door.listener), loop, limits, [this](uint32_t port, Fd stream) {
          ports.push_back(port);
          streams.push_back(std::move(stream));
        }) {}
  Door door;
  fake::Loop loop;
  std::vector<uint32_t> ports;
  std::vector<Fd> streams;
  HostListener listener;
};

TEST(VsockListener, LineNamesAPort) {
  EXPECT_EQ(parse_connect_line("CONNECT 1024"), 1024U);
  EXPECT_EQ(parse_connect_line("CONNECT 0"), 0U);
  EXPECT_EQ(parse_connect_line("CONNECT 4294967295"), 4294967295U);
}

TEST(VsockListener, AnythingElseNamesNone) {
  for (const char* line :
       {"", "CONNECT", "CONNECT ", "connect 1", "CONNECT  1", "CONNECT 1 ", "CONNECT -1",
        "CONNECT +1", "CONNECT 0x10", "CONNECT 4294967296", "CONNECT 00000000001", "CONNECT 1\r",
        "CONNECT 1a", "GET / HTTP/1.1", "CONNECT 99999999999999999999"}) {
    EXPECT_EQ(parse_connect_line(line), std::nullopt) << line;
  }
}

TEST(VsockListener, BytesAfterTheLineStayInTheStream) {
  Served served;
  const Fd client = served.door.connect("CONNECT 52\nfirst bytes");
  served.loop.turn_until_idle();
  ASSERT_EQ(served.ports, std::vector<uint32_t>{52});
  EXPECT_EQ(fake::read_now(served.streams[0].get()), "first bytes");
}

TEST(VsockListener, LineMayComeByteByByte) {
  Served served;
  const Fd client = served.door.connect();
  for (const char byte : std::string("CONNECT 4294967295\n")) {
    fake::write_all(client.get(), {&byte, 1});
    served.loop.turn_until_idle();
  }
  EXPECT_EQ(served.ports, std::vector<uint32_t>{4294967295U});
}

TEST(VsockListener, GarbageIsDropped) {
  Served served;
  for (const std::string& line : std::vector<std::string>{"GET / HTTP/1.1\n", "\n", "CONNECT x\n",
                                                          std::string("CONNECT 1\0\n", 11)}) {
    const Fd client = served.door.connect(line);
    served.loop.turn_until_idle();
    EXPECT_TRUE(fake::at_end(client.get())) << line;
  }
  EXPECT_TRUE(served.ports.empty());
  EXPECT_EQ(served.loop.timers(), 0U);
  EXPECT_EQ(served.loop.watched(), 1U);
}

TEST(VsockListener, EndlessLineIsDropped) {
  Served served;
  const Fd client = served.door.connect(std::string(1000, '1'));
  served.loop.turn_until_idle();
  EXPECT_TRUE(fake::at_end(client.get()));
}

TEST(VsockListener, ClientThatLeavesIsForgotten) {
  Served served;
  {
    const Fd client = served.door.connect("CONNE");
  }
  served.loop.turn_until_idle();
  EXPECT_EQ(served.listener.waiting(), 0U);
}

TEST(VsockListener, SilentClientIsDroppedAfterTheLimit) {
  Served served({.line = std::chrono::milliseconds(20)});
  const Fd client = served.door.connect("CONNECT 1");
  served.loop.turn_until_idle();
  EXPECT_EQ(served.listener.waiting(), 1U);
  ASSERT_TRUE(served.loop.turn_until([&] { return served.listener.waiting() == 0; }));
  EXPECT_TRUE(fake::at_end(client.get()));
}

TEST(VsockListener, OnlySoManyClientsWaitAndOthersFollowWithoutSpinning) {
  Served served({.clients = 2, .line = std::chrono::milliseconds(30)});
  std::vector<Fd> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(served.door.connect());
  const Fd honest = served.door.connect("CONNECT 9\n");
  served.loop.turn_until_idle();
  EXPECT_EQ(served.listener.waiting(), 2U);
  EXPECT_EQ(served.loop.turn(), 0);
  ASSERT_TRUE(served.loop.turn_until([&] { return !served.ports.empty(); }));
  EXPECT_EQ(served.ports, std::vector<uint32_t>{9});
}

TEST(VsockListener, ClientIsJoinedWithTheGuestsPort) {
  Door door;
  VsockDriver driver;
  ASSERT_TRUE(driver.device.serve(std::move(door.listener)));
  driver.start();
  const Fd client = door.connect("CONNECT 52\nhello");
  driver.loop.turn_until_idle();
  EXPECT_EQ(fake::read_now(client.get()), "") << "no answer before the guest's";
  ASSERT_EQ(driver.answer_request(), VsockDevice::kFirstHostPort);
  EXPECT_EQ(fake::payloads(driver.receive_all()), "hello");
  EXPECT_EQ(fake::read_now(client.get()), "OK 1073741824\n");
}

TEST(VsockListener, ClientOfAPortWithoutAListenerIsClosedWithoutAWord) {
  Door door;
  VsockDriver driver;
  ASSERT_TRUE(driver.device.serve(std::move(door.listener)));
  driver.start();
  const Fd client = door.connect("CONNECT 52\n");
  const auto came = driver.receive_all();
  ASSERT_EQ(fake::ops(came), std::vector{VsockOp::kRequest});
  driver.send(VsockDriver::packet(VsockOp::kReset, 52, came[0].header.src_port));
  bool ended = false;
  EXPECT_EQ(fake::read_now(client.get(), &ended), "");
  EXPECT_TRUE(ended);
}

TEST(VsockListener, SocketThatDoesNotListenIsRefused) {
  fake::StreamPair pair;
  VsockDriver driver;
  EXPECT_FALSE(driver.device.serve(std::move(pair.device)));
  EXPECT_FALSE(driver.device.serve(Fd(::open("/dev/null", 0))));
}

}  // namespace
}  // namespace thimble
