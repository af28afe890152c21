// See broker_service.h.
#include "pool/vm/broker_service.h"

#include <poll.h>

#include <chrono>
#include <variant>

#include "devices/fd.h"
#include "pool/vm/broker.h"

namespace thimble {

namespace {

// A machine that could not be saved goes on as if nothing had been.
void save(Machine& machine, int broker, int state, int memory, bool hold) {
  auto done = machine.pause();
  if (done) {
    done = machine.save(state, memory);
    if (!done || !hold) {
      // Fails only for a machine that has ended meanwhile, which is reported by itself.
      [[maybe_unused]] auto resumed = machine.resume();
    }
  }
  if (done) {
    send_broker(broker, BrokerType::kSaved, 0, "");
  } else {
    send_broker(broker, BrokerType::kUnsaved, 0, done.error().message);
  }
}

void record(const Machine& machine, int broker, int file) {
  if (auto pages = machine.record_working_set(file)) {
    send_broker(broker, BrokerType::kRecorded, static_cast<uint32_t>(*pages), "");
  } else {
    send_broker(broker, BrokerType::kUnrecorded, 0, pages.error().message);
  }
}

// The memory of a clone that nobody needs is reclaimed meanwhile. Returns when there is a message.
void reclaim_until_message(Machine& machine, int broker, ReclaimPlan& plan) {
  using Clock = std::chrono::steady_clock;
  pollfd message{.fd = broker, .events = POLLIN, .revents = 0};
  while (::poll(&message, 1, static_cast<int>(plan.until_look().count())) == 0) {
    if (!plan.looks_idle(machine.work())) continue;
    const auto begin = Clock::now();
    const auto report = machine.reclaim(broker);
    if (!report) {
      send_broker(broker, BrokerType::kNotice, 0, report.error().message, -1, /*wait=*/false);
      return;
    }
    plan.was_tried(*report, Clock::now() - begin);
  }
}

}  // namespace

void serve_broker(Machine& machine, int broker, std::optional<ReclaimPlan> plan) {
  Fd state;
  for (;;) {
    if (plan) reclaim_until_message(machine, broker, *plan);
    auto received = receive_broker(broker, BrokerSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<BrokerMessage>(&received);
    if (message == nullptr) break;
    switch (message->type) {
      case BrokerType::kOpened:
        machine.opened(message->value, std::move(message->stream));
        break;
      case BrokerType::kState:
        state = std::move(message->stream);
        break;
      case BrokerType::kSave:
        save(machine, broker, state.get(), message->stream.get(), message->value == kBrokerHold);
        state.reset();
        break;
      case BrokerType::kResume: {
        [[maybe_unused]] auto resumed = machine.resume();
        break;
      }
      case BrokerType::kPing:
        send_broker(broker, BrokerType::kPong, message->value, "");
        break;
      case BrokerType::kRecord:
        record(machine, broker, message->stream.get());
        break;
      case BrokerType::kClaim:
        send_broker(broker, BrokerType::kNotice, 0, "a claim of a VM that runs was refused");
        break;
      default:
        machine.connect(message->value, std::move(message->stream));
    }
  }
  machine.stop();
}

WarmVmEnd wait_for_claim(Machine& machine, const Snapshot& snapshot, int broker) {
  WarmVmEnd end;
  send_broker(broker, BrokerType::kPrepared, 0, "");
  for (;;) {
    auto received = receive_broker(broker, BrokerSide::kVmm, /*wait=*/true);
    auto* message = std::get_if<BrokerMessage>(&received);
    if (message == nullptr) return end;
    if (message->type == BrokerType::kPing) {
      send_broker(broker, BrokerType::kPong, message->value, "");
      continue;
    }
    if (message->type != BrokerType::kClaim) {
      end.refused = "a message for a guest came before the claim";
      return end;
    }
    end.report_console = (message->value & kBrokerReportConsole) != 0;
    auto done = machine.claim(snapshot);
    end.claimed = done.has_value();
    if (!done) end.refused = done.error().message;
    return end;
  }
}

}  // namespace thimble
