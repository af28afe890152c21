// The host's end of the control protocol: a guest that sends any bytes in any pieces, between
// requests of the host. Text that comes out is printable and short.
#include "pool/guest/guest_control.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {
namespace {

void check(const GuestEvent& event) {
  FUZZ_CHECK(event.text.size() <= 4 * 400 + 8);
  for (const char c : event.text) {
    const auto byte = static_cast<unsigned char>(c);
    FUZZ_CHECK(byte >= 0x20 && byte != 0x7f);  // beyond ASCII only "…"
  }
}

// A frame whose lengths fit, with fields of any tag.
std::vector<uint8_t> make_frame(Input& input) {
  std::vector<uint8_t> fields;
  const auto put = [&fields](const auto& value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    fields.insert(fields.end(), raw, raw + sizeof(value));
  };
  static constexpr std::array<uint16_t, 12> kTags = {1,  2,  40, 50, 60,  61,
                                                     62, 70, 71, 72, 127, 128};
  const uint32_t count = input.below(5);
  for (uint32_t i = 0; i < count; ++i) {
    const uint16_t tag = kTags[input.below(kTags.size())];
    const auto value = input.bytes(input.coin() ? 4 : input.take<uint8_t>());
    put(protocol::FieldHeader{tag, 0, static_cast<uint32_t>(value.size())});
    fields.insert(fields.end(), value.begin(), value.end());
  }
  const auto type = static_cast<uint16_t>(input.below(10) + protocol::kHello);
  const protocol::FrameHeader header{static_cast<uint32_t>(fields.size()), type, 0};
  const auto* raw = reinterpret_cast<const uint8_t*>(&header);
  fields.insert(fields.begin(), raw, raw + sizeof(header));
  return fields;
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  using fuzz::Input;
  Input input(data, size);
  GuestControl control;
  while (!input.empty()) {
    switch (input.below(8)) {
      case 0:
        (void)control.configure({.hostname = "h", .wall_clock_ns = 1});
        break;
      case 1:
        (void)control.start({.arguments = {"a"}, .environment = {"K=V"}});
        break;
      case 2:
        (void)control.signal(input.take<uint8_t>());
        (void)control.ping(1);
        (void)control.set_clock(1);
        (void)control.end();
        break;
      case 3:
        control.sent(input.take<uint16_t>());
        break;
      case 4:
        control.received(input.bytes(input.take<uint8_t>()));
        break;
      default: {
        const auto frame = fuzz::make_frame(input);
        const size_t cut = input.below(4) == 0 ? input.take<uint8_t>() : 0;
        const std::span<const uint8_t> bytes(frame);
        control.received(bytes.first(std::min(cut, bytes.size())));
        control.received(bytes.subspan(std::min(cut, bytes.size())));
      }
    }
    while (auto event = control.next_event()) fuzz::check(*event);
  }
  const bool broken = control.state() == GuestControl::State::kBroken;
  control.received(std::array<uint8_t, 1>{0});
  if (broken) FUZZ_CHECK(!control.next_event());
  return 0;
}
