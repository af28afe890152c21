// The guest's end of the control protocol: what the host sends is decoded in place, and what comes
// out points into the payload and ends there.
#include <vector>

#include "guest-init/codec.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {
namespace {

using namespace init;

// A decoded string lies in the payload and ends in it.
void check_string(const std::vector<char>& payload, const char* text) {
  if (text == nullptr) return;
  const char* end = payload.data() + payload.size();
  FUZZ_CHECK(text >= payload.data() && text < end);
  FUZZ_CHECK(memchr(text, 0, static_cast<size_t>(end - text)) != nullptr);
}

void decode(uint16_t type, std::vector<char>& payload) {
  static Configure configure;  // large
  static Start start;
  Freeze freeze{};
  Thaw thaw{};
  Signal signal{};
  Resize resize{};
  uint64_t nonce = 0;
  switch (type) {
    case protocol::kConfigure:
      if (decode_configure(payload.data(), payload.size(), configure) != nullptr) return;
      check_string(payload, configure.hostname);
      FUZZ_CHECK(configure.mount_count <= protocol::kMaxMounts);
      FUZZ_CHECK(configure.entropy.size <= kMaxEntropy);
      return;
    case protocol::kStart:
      if (decode_start(payload.data(), payload.size(), start) != nullptr) return;
      FUZZ_CHECK(start.argument_count >= 1 && start.argument_count <= protocol::kMaxArguments);
      for (uint32_t i = 0; i < start.argument_count; ++i) check_string(payload, start.arguments[i]);
      for (uint32_t i = 0; i < start.environment_count; ++i) {
        check_string(payload, start.environment[i]);
      }
      FUZZ_CHECK(start.arguments[start.argument_count] == nullptr);
      FUZZ_CHECK(start.rlimit_count <= protocol::kMaxRlimits);
      FUZZ_CHECK(start.process <= protocol::kMaxProcesses);
      return;
    case protocol::kSignal:
      if (decode_signal(payload.data(), payload.size(), signal) != nullptr) return;
      FUZZ_CHECK(signal.number >= 1 && signal.number <= 64);
      FUZZ_CHECK(signal.process <= protocol::kMaxProcesses);
      return;
    case protocol::kResize:
      if (decode_resize(payload.data(), payload.size(), resize) != nullptr) return;
      FUZZ_CHECK(resize.process <= protocol::kMaxProcesses);
      return;
    case protocol::kFreeze:
      (void)decode_freeze(payload.data(), payload.size(), freeze);
      return;
    case protocol::kThaw:
      (void)decode_thaw(payload.data(), payload.size(), thaw);
      return;
    case protocol::kPing:
      (void)decode_ping(payload.data(), payload.size(), nonce);
      return;
    case protocol::kSetClock:
      (void)decode_set_clock(payload.data(), payload.size(), nonce);
      return;
    default:
      (void)decode_empty(payload.size());
  }
}

// Fields whose lengths fit.
std::vector<char> make_payload(Input& input) {
  std::vector<char> payload;
  static constexpr std::array<uint16_t, 17> kTags = {10, 11, 12, 13, 20, 21, 22, 23, 24,
                                                     25, 26, 27, 28, 30, 40, 80, 90};
  while (!input.empty()) {
    size_t size = input.take<uint8_t>();
    const uint16_t tag = kTags[input.below(kTags.size())];
    if (tag == protocol::kTagMount && size > 100) size = sizeof(protocol::Mount);
    if (tag == protocol::kTagRlimit) size = sizeof(protocol::Rlimit);
    if (size < 32 && input.coin()) size &= 12;
    const auto value = input.bytes(size);
    const protocol::FieldHeader header{tag, 0, static_cast<uint32_t>(value.size())};
    const auto* raw = reinterpret_cast<const char*>(&header);
    payload.insert(payload.end(), raw, raw + sizeof(header));
    payload.insert(payload.end(), value.begin(), value.end());
  }
  return payload;
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  fuzz::Input input(data, size);
  protocol::FrameHeader header{input.take<uint32_t>(), input.take<uint8_t>(), 0};
  (void)init::check_header(header);
  if (input.coin()) {
    std::vector<char> payload = fuzz::make_payload(input);
    fuzz::decode(header.type % 11, payload);
  } else {
    const auto raw = input.all();
    std::vector<char> payload(raw.begin(), raw.end());
    fuzz::decode(header.type % 11, payload);
  }
  return 0;
}
