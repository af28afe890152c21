// The daemon in a process of its own, with templates of payload guests in a folder of its own, and
// what its clients and an onlooker see of it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "pool/daemon/daemon.h"
#include "pool/daemon/daemon_client.h"
#include "pool/daemon/daemon_start.h"
#include "pool/daemon/runtime_folder.h"
#include "pool/template/template.h"
#include "tests/payload/warm_vm_files.h"

namespace thimble::test {

// With all of its threads; a process whose parent was killed may still wait to be reaped.
inline bool is_gone(pid_t pid) {
  const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended{handle.get(), POLLIN, 0};
  return !handle || ::poll(&ended, 1, 10000) == 1;
}

inline size_t entries_of(const std::string& folder) {
  std::error_code code;
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder, code), {}));
}

inline size_t lines_of(const std::string& path) {
  std::ifstream file(path);
  return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
}

class DaemonVms : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "thimble-pool.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    store_ = folder_ + "/templates";
    make_template("ends", "serial_echo", "q");
    make_template("sleeps", "sleeping_echo", "");
  }
  void TearDown() override {
    kill_daemon();
    std::filesystem::remove_all(folder_);
  }

  void make_template(const std::string& name, const std::string& payload, std::string_view typed) {
    auto store = TemplateStore::open(store_);
    ASSERT_TRUE(store) << store.error().message;
    auto frozen = frozen_payload(payload, typed);
    ASSERT_TRUE(frozen) << frozen.error().message;
    auto staging = store->stage(name);
    ASSERT_TRUE(staging) << staging.error().message;
    {
      auto files = staging->files();
      ASSERT_TRUE(files);
      copy(frozen->state, files->state);
      copy(frozen->memory, files->memory);
    }
    TemplateFacts facts;
    facts.memory_bytes = kFrozenMemory;
    facts.server.arguments = {"payload"};
    const auto published = staging->publish(std::move(facts));
    ASSERT_TRUE(published) << published.error().message;
  }
  static void copy(const Fd& from, const Fd& to) {
    std::string bytes(static_cast<size_t>(::lseek(from.get(), 0, SEEK_END)), 0);
    ASSERT_EQ(::pread(from.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(::pwrite(to.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }

  // In a process that has nothing else to do.
  int serve(DaemonOptions options) {
    auto place = DaemonPlace::take(*OwnedFolder::open(folder_));
    if (!place || !*place) return 2;
    auto daemon = Daemon::create((*place)->listener(), std::move(options));
    return daemon && (*daemon)->run() ? 0 : 4;
  }
  void start(DaemonOptions options = {}) {
    pid_ = ::fork();
    if (pid_ == 0) ::_exit(serve(std::move(options)));
    for (int i = 0; i < 1000 && status().is_null(); ++i) ::usleep(10000);
  }
  void kill_daemon() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

  nlohmann::json status() {
    auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
    if (!client || !*client) return nullptr;
    auto reply = (*client)->ask({}, std::chrono::seconds(10));
    return reply ? nlohmann::json::parse(*reply, nullptr, false) : nlohmann::json(nullptr);
  }
  std::vector<pid_t> pids_in(const std::string& state) {
    std::vector<pid_t> pids;
    const nlohmann::json all = status();
    for (const nlohmann::json& vm : all["vms"]) {
      if (vm["state"] == state) pids.push_back(vm["pid"]);
    }
    return pids;
  }
  bool wait_for(const std::string& state, size_t count) {
    for (int i = 0; i < 1000; ++i) {
      if (pids_in(state).size() == count) return true;
      ::usleep(10000);
    }
    return false;
  }
  DaemonClient::Claim claim(const std::string& name) {
    auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
    if (!client || !*client) {
      DaemonClient::Claim none;
      none.unreachable = "none";
      return none;
    }
    return DaemonClient::claim(std::move(**client), {store_, name}, false, "test",
                               std::chrono::seconds(30));
  }
  // The last event of a VM.
  static VmEvent last_event(VmProcess& vm) {
    for (;;) {
      auto event = vm.next_event();
      if (event && (event->kind == VmEvent::Kind::kEnded || event->kind == VmEvent::Kind::kLost ||
                    event->kind == VmEvent::Kind::kRefused)) {
        return std::move(*event);
      }
      if (event) continue;
      pollfd ready{vm.poll_fd(), POLLIN, 0};
      if (vm.poll_fd() < 0 || ::poll(&ready, 1, 30000) != 1) return {};
    }
  }

  std::string folder_;
  std::string store_;
  pid_t pid_ = -1;
};

}  // namespace thimble::test
