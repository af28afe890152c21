// See vm_channel_service.h.
#include "pool/vm/vm_channel_service.h"

#include <poll.h>

#include <chrono>
#include <variant>

#include "devices/fd.h"
#include "pool/vm/vm_channel.h"

namespace thimble {

namespace {

// A machine that could not be saved goes on as if nothing had been.
void save(Machine& machine, int channel, int state, int memory, bool hold) {
  auto done = machine.pause();
  if (done) {
    done = machine.save(state, memory);
    if (!done || !hold) {
      // Fails only for a machine that has ended meanwhile, which is reported by itself.
      [[maybe_unused]] auto resumed = machine.resume();
    }
  }
  if (done) {
    send_vm_message(channel, VmMessageType::kSaved, 0, "");
  } else {
    send_vm_message(channel, VmMessageType::kUnsaved, 0, done.error().message);
  }
}

void record(const Machine& machine, int channel, int file) {
  if (auto pages = machine.record_working_set(file)) {
    send_vm_message(channel, VmMessageType::kRecorded, static_cast<uint32_t>(*pages), "");
  } else {
    send_vm_message(channel, VmMessageType::kUnrecorded, 0, pages.error().message);
  }
}

// The memory of a clone that nobody needs is reclaimed meanwhile. Returns when there is a message.
void reclaim_until_message(Machine& machine, int channel, ReclaimPlan& plan) {
  using Clock = std::chrono::steady_clock;
  pollfd message{.fd = channel, .events = POLLIN, .revents = 0};
  while (::poll(&message, 1, static_cast<int>(plan.until_look().count())) == 0) {
    if (!plan.looks_idle(machine.work())) continue;
    const auto begin = Clock::now();
    const auto report = machine.reclaim(channel);
    if (!report) {
      send_vm_message(channel, VmMessageType::kNotice, 0, report.error().message, -1,
                      /*wait=*/false);
      return;
    }
    plan.was_tried(*report, Clock::now() - begin);
  }
}

}  // namespace

void serve_vm_channel(Machine& machine, int channel, std::optional<ReclaimPlan> plan) {
  Fd state;
  for (;;) {
    if (plan) reclaim_until_message(machine, channel, *plan);
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) break;
    switch (message->type) {
      case VmMessageType::kOpened:
        machine.opened(message->value, std::move(message->stream));
        break;
      case VmMessageType::kState:
        state = std::move(message->stream);
        break;
      case VmMessageType::kSave:
        save(machine, channel, state.get(), message->stream.get(),
             message->value == kVmChannelHold);
        state.reset();
        break;
      case VmMessageType::kResume: {
        [[maybe_unused]] auto resumed = machine.resume();
        break;
      }
      case VmMessageType::kPing:
        send_vm_message(channel, VmMessageType::kPong, message->value, "");
        break;
      case VmMessageType::kRecord:
        record(machine, channel, message->stream.get());
        break;
      case VmMessageType::kClaim:
        send_vm_message(channel, VmMessageType::kNotice, 0,
                        "a claim of a VM that runs was refused");
        break;
      default:
        machine.connect(message->value, std::move(message->stream));
    }
  }
  machine.stop();
}

WarmVmEnd wait_for_claim(Machine& machine, const Snapshot& snapshot, int channel) {
  WarmVmEnd end;
  send_vm_message(channel, VmMessageType::kPrepared, 0, "");
  for (;;) {
    auto received = receive_vm_message(channel, VmChannelSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<VmMessage>(&received);
    if (message == nullptr) return end;
    if (message->type == VmMessageType::kPing) {
      send_vm_message(channel, VmMessageType::kPong, message->value, "");
      continue;
    }
    if (message->type != VmMessageType::kClaim) {
      end.refused = "a message for a guest came before the claim";
      return end;
    }
    end.report_console = (message->value & kVmChannelReportConsole) != 0;
    auto done = machine.claim(snapshot);
    end.claimed = done.has_value();
    if (!done) end.refused = done.error().message;
    return end;
  }
}

}  // namespace thimble
