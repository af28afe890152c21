// A machine, a snapshot of it and ten clones, in C++. The guest is that of clones.c: guest.c.
//
//   c++ -std=c++23 clones.cpp $(pkg-config --cflags --libs thimble-cpp) -o clones
//   clones KERNEL [INITRD]
#include <sys/mman.h>
#include <thimble/machine.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using thimble::Fd;
using thimble::Machine;
using thimble::MachineOptions;
using thimble::Result;
using thimble::Snapshot;

// A machine on a thread of its own, and what its guest has said.
class Vm {
 public:
  Vm() = default;
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;
  ~Vm() {
    if (machine_) machine_->stop();
  }

  // `make` makes the machine of the options.
  template <class Make>
  Result<void> start(MachineOptions options, Make make) {
    options.on_serial = [this](std::span<const uint8_t> bytes) {
      const std::scoped_lock guard(lock_);
      said_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      changed_.notify_all();
    };
    auto made = make(std::move(options));
    if (!made) return std::unexpected(made.error());
    machine_ = std::move(*made);
    thread_ = std::jthread([this] {
      const thimble::End end = machine_->run();
      const std::scoped_lock guard(lock_);
      end_ = end;
      changed_.notify_all();
    });
    return {};
  }

  Machine& machine() { return *machine_; }

  // Until the guest has said it; false when the machine has ended before.
  bool wait_for(const std::string& words) {
    std::unique_lock guard(lock_);
    const auto said = [&] { return said_.find(words) != std::string::npos; };
    changed_.wait(guard, [&] { return said() || end_; });
    return said();
  }

  thimble::End end() {
    thread_.join();
    return *end_;
  }

 private:
  std::unique_ptr<Machine> machine_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::string said_;
  std::optional<thimble::End> end_;
  std::jthread thread_;  // goes first
};

// Boots until the guest is ready, and freezes it into two files in memory.
Result<std::shared_ptr<const Snapshot>> boot_and_freeze(const std::string& kernel,
                                                        const std::string& initrd) {
  MachineOptions options;
  options.kernel = kernel;
  options.initrd = initrd;
  options.command_line = "console=ttyS0 quiet panic=-1 reboot=k";
  Vm vm;
  if (auto done = vm.start(std::move(options), Machine::create); !done) {
    return std::unexpected(done.error());
  }
  if (!vm.wait_for("ready")) return thimble::fail("the guest ended: " + vm.end().message);

  Fd state(memfd_create("state", MFD_CLOEXEC));
  Fd memory(memfd_create("memory", MFD_CLOEXEC));
  auto done = vm.machine().pause();
  if (done) done = vm.machine().save(state.get(), memory.get());
  vm.machine().stop();
  if (!done) return std::unexpected(done.error());
  return Snapshot::open(std::move(state), std::move(memory));
}

Result<void> run(const std::string& kernel, const std::string& initrd) {
  const auto snapshot = boot_and_freeze(kernel, initrd);
  if (!snapshot) return std::unexpected(snapshot.error());
  std::vector<Vm> clones(10);
  const auto restore = [&](MachineOptions options) {
    return Machine::restore(std::move(options), **snapshot);
  };
  for (Vm& clone : clones) {
    if (auto done = clone.start({}, restore); !done) return done;
  }
  for (size_t i = 0; i < clones.size(); ++i) {
    const std::string words = "clone " + std::to_string(i) + ".";
    clones[i].machine().type(words + "\n");
    if (!clones[i].wait_for(words))
      return thimble::fail("a clone ended: " + clones[i].end().message);
    std::printf("%s\n", words.c_str());
    clones[i].machine().type("q\n");
  }
  using Kind = thimble::End::Kind;
  for (Vm& clone : clones) {
    const thimble::End end = clone.end();
    if (end.kind != Kind::kPowerOff && end.kind != Kind::kReset) return thimble::fail(end.message);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: clones KERNEL [INITRD]\n");
    return 2;
  }
  const auto done = run(argv[1], argc > 2 ? argv[2] : "");
  if (done) return 0;
  std::fprintf(stderr, "clones: %s\n", done.error().message.c_str());
  return 1;
}
