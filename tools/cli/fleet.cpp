// See fleet.h.
#include "tools/cli/fleet.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "devices/printable.h"
#include "devices/text.h"
#include "pool/daemon/daemon_client.h"
#include "pool/daemon/runtime_folder.h"
#include "tools/cli/launched.h"

namespace thimble::cli {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kAnswerTimeout{10};

// As `thimble run` was given it: "template NAME", or options and CMD.
std::string joined(const json& words) {
  std::string all;
  if (!words.is_array()) return all;
  for (const json& word : words) {
    if (!word.is_string() || word == "--stdin-grace" || word == "never") continue;
    if (word == "--template") {
      all += "template";
      continue;
    }
    if (!all.empty()) all += ' ';
    all += word.get<std::string>();
  }
  return printable(all, 80);
}

json describe(const Launched& launched) {
  const json facts = launched.facts();
  const auto supervisor = launched.supervisor().value_or(std::nullopt);
  json one = {{"name", launched.name()},
              {"state", supervisor ? "running" : "ended"},
              {"command", joined(facts.value("arguments", json::array()))},
              {"socket", launched.path("socket")}};
  if (supervisor) one["supervisor"] = one["keeper"] = *supervisor;  // keeper: its name before 0.2
  for (const char* name : {"started", "ended", "exit_status"}) {
    if (facts.contains(name) && facts[name].is_number()) one[name] = facts[name];
  }
  return one;
}

// Nothing when none runs.
Result<json> ask_daemon() {
  auto folder = runtime_folder();
  if (!folder) return std::unexpected(folder.error());
  auto client = DaemonClient::connect(*folder);
  if (!client) return std::unexpected(client.error());
  if (!*client) return json(nullptr);
  auto reply = (*client)->ask({}, kAnswerTimeout);
  if (!reply) return std::unexpected(reply.error());
  json status = read_foreign_json(*reply);
  if (!status.is_object()) return fail("the daemon's answer is not understood");
  return status;
}

std::string number(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? std::to_string(found->get<long long>())
                                                     : "-";
}

std::string word(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? printable(found->get<std::string>(), 60)
                                                     : "";
}

std::string age(long long seconds) {
  if (seconds < 120) return text("%lld s", seconds);
  if (seconds < 7200) return text("%lld min", seconds / 60);
  return text("%lld h", seconds / 3600);
}

// Memory that the process itself has in use, shared pages of its template too.
std::string resident(const json& vm) {
  const auto pid = vm.find("pid");
  if (pid == vm.end() || !pid->is_number()) return "-";
  std::ifstream file("/proc/" + std::to_string(pid->get<long long>()) + "/statm");
  long long size = 0;
  long long pages = 0;
  if (!(file >> size >> pages)) return "-";
  return std::to_string(pages * ::sysconf(_SC_PAGESIZE) / 1024);
}

}  // namespace

Result<json> look_at_fleet() {
  auto status = ask_daemon();
  if (!status) return status;
  auto launched = Launched::all();
  if (!launched) return std::unexpected(launched.error());
  json fleet = {{"daemon", nullptr},
                {"templates", json::array()},
                {"vms", json::array()},
                {"launched", json::array()}};
  if (status->is_object()) {
    for (const char* name : {"templates", "vms"}) {
      if (status->contains(name)) fleet[name] = (*status)[name];
    }
    json daemon = json::object();
    for (const char* name : {"pid", "uptime_s", "clients", "limits"}) {
      if (status->contains(name)) daemon[name] = (*status)[name];
    }
    fleet["daemon"] = std::move(daemon);
  }
  for (const Launched& one : *launched) fleet["launched"].push_back(describe(one));
  return fleet;
}

namespace {

// As wide as its longest word.
int width_of(const json& rows, const char* name, size_t least) {
  size_t width = least;
  for (const json& one : rows) width = std::max(width, word(one, name).size());
  return static_cast<int>(width);
}

std::string describe_launched(const json& one, int names) {
  const bool ended = one.contains("exit_status");
  std::string state = word(one, "state");
  if (ended) state += " (" + number(one, "exit_status") + ")";
  const auto now = static_cast<long long>(::time(nullptr));
  const long long then = one.value(ended ? "ended" : "started", now);
  return text("%-*s  %-12s %-9s %s", names, word(one, "name").c_str(), state.c_str(),
              age(now - then).c_str(), word(one, "command").c_str());
}

std::string describe_template(const json& one, int names) {
  return text("%-*s %5s %8s %8s %8s  %s", names, word(one, "template").c_str(),
              number(one, "ready").c_str(), number(one, "claimed").c_str(),
              number(one, "waiting").c_str(), number(one, "claims").c_str(),
              number(one, "misses").c_str());
}

std::string describe_vm(const json& one, int names) {
  return text("%-7s %-8s %-*s %-10s %12s  %s", number(one, "vm").c_str(),
              number(one, "pid").c_str(), names, word(one, "template").c_str(),
              word(one, "state").c_str(), resident(one).c_str(),
              age(one.value("age_ms", 0LL) / 1000).c_str());
}

void describe_daemon(const json& fleet, std::vector<std::string>& lines) {
  const json& daemon = fleet["daemon"];
  const int names = std::max(width_of(fleet["templates"], "template", 24),
                             width_of(fleet["vms"], "template", 24));
  lines.push_back(text("Daemon %s, up %s, clients: %s", number(daemon, "pid").c_str(),
                       age(daemon.value("uptime_s", 0LL)).c_str(),
                       number(daemon, "clients").c_str()));
  if (!fleet["templates"].empty()) {
    lines.push_back(
        text("%-*s READY  CLAIMED  WAITING   CLAIMS  (of them waited)", names, "TEMPLATE"));
  }
  for (const json& one : fleet["templates"]) {
    lines.push_back(describe_template(one, names));
    const std::string failing = word(one, "failing");
    if (!failing.empty()) lines.push_back("  failing: " + failing);
  }
  if (!fleet["vms"].empty()) {
    lines.push_back(
        text("VM      PID      %-*s STATE      RESIDENT KiB  SINCE", names, "TEMPLATE"));
  }
  for (const json& one : fleet["vms"]) lines.push_back(describe_vm(one, names));
}

}  // namespace

std::vector<std::string> describe_fleet(const json& fleet) {
  std::vector<std::string> lines;
  const int names = width_of(fleet["launched"], "name", 16);
  lines.push_back(fleet["launched"].empty()
                      ? "No VM was launched (thimble launch)."
                      : text("%-*s  STATE        SINCE     COMMAND", names, "NAME"));
  for (const json& one : fleet["launched"]) lines.push_back(describe_launched(one, names));
  lines.emplace_back();
  if (fleet["daemon"].is_object()) {
    describe_daemon(fleet, lines);
  } else {
    lines.emplace_back("No daemon runs.");
  }
  return lines;
}

}  // namespace thimble::cli
