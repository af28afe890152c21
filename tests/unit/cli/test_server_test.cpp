// `thimble test` and servers whose answer to initialize is none.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include "devices/fd.h"
#include "tools/cli/commands.h"
#include "tools/cli/launched.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {
namespace {

struct Outcome {
  int status = -1;
  std::string out;
  std::string errors;
};

// Takes one client, and answers initialize with `result` and the ping after it.
void serve(const Fd& listener, const std::string& result) {
  pollfd called{listener.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&called, 1, -1), 1);
  const Fd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const std::string answers = R"({"jsonrpc":"2.0","id":1,"result":)" + result + "}\n" +
                              R"({"jsonrpc":"2.0","id":2,"result":{}})" + "\n";
  EXPECT_EQ(::send(client.get(), answers.data(), answers.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(answers.size()));
  std::string heard(4096, 0);
  while (::recv(client.get(), heard.data(), heard.size(), 0) > 0) {
  }
}

class TestServer : public testing::Test {
 protected:
  TestServer() {
    std::string folder = testing::TempDir() + "thimble-test-XXXXXX";
    folder_ = ::mkdtemp(folder.data());
    ::setenv("THIMBLE_RUNTIME", folder_.c_str(), 1);
  }
  ~TestServer() override {
    ::unsetenv("THIMBLE_RUNTIME");
    std::filesystem::remove_all(folder_);
  }

  static Outcome test(const std::string& result) {
    const auto launched = Launched::make("one");
    EXPECT_TRUE(launched) << launched.error().message;
    const auto listener = listen_in(*launched->folder(), "socket", SOCK_STREAM, 1);
    EXPECT_TRUE(listener);
    std::thread server([&] { serve(*listener, result); });
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Outcome outcome;
    outcome.status = test_command({"one"});
    outcome.out = testing::internal::GetCapturedStdout();
    outcome.errors = testing::internal::GetCapturedStderr();
    server.join();
    return outcome;
  }

  std::string folder_;
};

TEST_F(TestServer, ASoundOneIsNamed) {
  const Outcome outcome =
      test(R"({"protocolVersion":"P","capabilities":{},"serverInfo":{"name":"N","version":"V"}})");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_TRUE(outcome.out.starts_with("one: N V answers: protocol P, ")) << outcome.out;
}

TEST_F(TestServer, FieldsOfWrongTypesAreNoAnswer) {
  const std::pair<const char*, const char*> kWrong[] = {
      {R"({"protocolVersion":5,"capabilities":{},"serverInfo":{"name":"N","version":"V"}})",
       "protocolVersion is no text"},
      {R"({"protocolVersion":"P","capabilities":[],"serverInfo":{"name":"N","version":"V"}})",
       "capabilities is no object"},
      {R"({"protocolVersion":"P","capabilities":{},"serverInfo":"N"})", "serverInfo is no object"},
      {R"({"protocolVersion":"P","capabilities":{},"serverInfo":{"name":[],"version":"V"}})",
       "name or version in serverInfo is no text"},
      {R"("text")", "protocolVersion is no text"},
      {"null", "protocolVersion is no text"},
  };
  for (const auto& [result, why] : kWrong) {
    const Outcome outcome = test(result);
    EXPECT_EQ(outcome.status, 125) << result;
    EXPECT_EQ(outcome.out, "") << result;
    EXPECT_EQ(outcome.errors,
              std::string("thimble: one: initialize: its answer is none: ") + why + "\n");
  }
}

}  // namespace
}  // namespace thimble::cli
