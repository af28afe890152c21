// `thimble test NAME`: asks the MCP server in a launched VM who it is (initialize) and whether it
// answers (ping), through the VM's socket.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "devices/printable.h"
#include "devices/text.h"
#include "mcp-agent/server_run.h"
#include "tools/cli/commands.h"
#include "tools/cli/launched.h"
#include "tools/cli/say.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr const char* kHelp =
    R"(Usage: thimble test NAME [--json]

Is a client of the MCP server in the launched VM NAME for a moment: asks it to initialize and for a
ping, and says who answered and how long that took. Waits until no answer is due to another client.

Example:
  thimble launch memory -- npx -y @modelcontextprotocol/server-memory && thimble test memory
)";

using nlohmann::json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTimeout{30'000};
constexpr size_t kMaxAnswer = size_t{1} << 20;
constexpr const char* kProtocol = "2025-06-18";

class Conversation {
 public:
  explicit Conversation(Fd socket) : socket_(std::move(socket)) {}

  Result<void> send(const json& message) {
    const std::string line = message.dump() + "\n";
    const ssize_t n = ::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(line.size())) return {};
    return fail("the VM does not take a request");
  }

  // The result of request `id`; what the server says of its own accord in between is passed over.
  Result<json> answer(int id) {
    const auto deadline = Clock::now() + kTimeout;
    for (;;) {
      auto line = next_line(deadline);
      if (!line) return std::unexpected(line.error());
      const json message = read_foreign_json(*line, kMaxAnswer);
      if (message.is_discarded() && line->starts_with('{')) {
        return fail("its answer is no JSON, or too deep");
      }
      if (!message.is_object()) continue;
      const json about = message.value("id", json());
      if (about.is_null() && message.contains("error")) {  // it was not let in
        return fail("it refuses: " + printable(message["error"].dump()));
      }
      if (about != id) continue;
      if (message.contains("result")) return message["result"];
      if (message.contains("error"))
        return fail("it refuses: " + printable(message["error"].dump()));
    }
  }

 private:
  Result<std::string> next_line(Clock::time_point deadline) {
    for (;;) {
      const size_t end = read_.find('\n');
      if (end != std::string::npos) {
        std::string line = read_.substr(0, end);
        read_.erase(0, end + 1);
        return line;
      }
      if (read_.size() > kMaxAnswer) return fail("it answers without end");
      const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
      pollfd readable{socket_.get(), POLLIN, 0};
      if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) != 1) {
        return fail(text("it does not answer within %lld s",
                         static_cast<long long>(kTimeout / std::chrono::seconds(1))));
      }
      std::string bytes(65536, 0);
      const ssize_t n = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
      if (n <= 0) return fail("it closed the connection");
      read_.append(bytes, 0, static_cast<size_t>(n));
    }
  }

  Fd socket_;
  std::string read_;
};

struct Identity {
  std::string server;
  std::string version;
  std::string protocol;
};

bool has_text(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_string();
}

bool has_object(const json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_object();
}

// What MCP demands of the result of initialize.
Result<Identity> identity_in(const json& result) {
  const auto refuse = [](const char* what) {
    return fail(std::string("its answer is none: ") + what);
  };
  if (!has_text(result, "protocolVersion")) return refuse("protocolVersion is no text");
  if (!has_object(result, "capabilities")) return refuse("capabilities is no object");
  if (!has_object(result, "serverInfo")) return refuse("serverInfo is no object");
  const json& info = result["serverInfo"];
  if (!has_text(info, "name") || !has_text(info, "version")) {
    return refuse("name or version in serverInfo is no text");
  }
  return Identity{printable(info["name"].get<std::string>()),
                  printable(info["version"].get<std::string>()),
                  printable(result["protocolVersion"].get<std::string>())};
}

Result<int> test(const std::string& name, bool as_json) {
  auto launched = Launched::find(name);
  if (!launched) return std::unexpected(launched.error());
  const auto folder = launched->folder();
  if (!folder) return std::unexpected(folder.error());
  auto socket = connect_in(*folder, "socket", SOCK_STREAM);
  if (!socket) return std::unexpected(socket.error());
  if (!*socket) return fail(name + " does not run any more: see thimble logs " + name);
  Conversation talk(std::move(**socket));
  const auto begin = Clock::now();
  auto sent = talk.send({{"jsonrpc", "2.0"},
                         {"id", 1},
                         {"method", "initialize"},
                         {"params",
                          {{"protocolVersion", kProtocol},
                           {"capabilities", json::object()},
                           {"clientInfo", {{"name", "thimble test"}, {"version", "1"}}}}}});
  if (!sent) return std::unexpected(sent.error());
  auto who = talk.answer(1);
  if (!who) return fail_in("initialize", who);
  const auto identity = identity_in(*who);
  if (!identity) return fail_in("initialize", identity);
  const auto initialized = Clock::now();
  sent = talk.send({{"jsonrpc", "2.0"}, {"method", "notifications/initialized"}});
  if (sent) sent = talk.send({{"jsonrpc", "2.0"}, {"id", 2}, {"method", "ping"}});
  if (!sent) return std::unexpected(sent.error());
  if (auto pong = talk.answer(2); !pong) return fail_in("ping", pong);
  const auto end = Clock::now();
  const auto ms = [](Clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  if (as_json) {
    const json result = {{"name", name},
                         {"server", identity->server},
                         {"version", identity->version},
                         {"protocol", identity->protocol},
                         {"initialize_ms", ms(initialized - begin)},
                         {"ping_ms", ms(end - initialized)}};
    print_json(result);
    return 0;
  }
  print(text("%s: %s %s answers: protocol %s, initialize %.1f ms, ping %.1f ms", name.c_str(),
             identity->server.c_str(), identity->version.c_str(), identity->protocol.c_str(),
             ms(initialized - begin), ms(end - initialized)));
  return 0;
}

}  // namespace

int test_command(const Arguments& arguments) {
  if (asks_for_help(arguments)) return print_text(kHelp), 0;
  std::string name;
  bool as_json = false;
  for (const std::string& word : arguments) {
    if (word == "--json") {
      as_json = true;
    } else if (word.starts_with('-') || !name.empty()) {
      return usage_error("thimble test", "write: thimble test NAME [--json]");
    } else {
      name = word;
    }
  }
  if (name.empty()) return usage_error("thimble test", "it needs a NAME");
  auto status = test(name, as_json);
  if (status) return *status;
  say(name + ": " + status.error().message);
  return kExitFailure;
}

}  // namespace thimble::cli
