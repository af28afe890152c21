// VM channel datagrams as either side receives them, and the guest's console on its way into them:
// what is shown to a person is printable and bounded.
#include "pool/vm/vm_channel.h"

#include "devices/printable.h"
#include "pool/vm/console_tail.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {
namespace {

void check_printable(const std::string& text, size_t limit) {
  FUZZ_CHECK(text.size() <= 4 * limit + 3);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    FUZZ_CHECK(byte >= 0x20 && byte != 0x7f);
  }
}

void parse(std::span<const uint8_t> datagram) {
  for (const VmChannelSide side : {VmChannelSide::kParent, VmChannelSide::kVmm}) {
    const auto message = parse_vm_message(datagram, side);
    if (!message) continue;
    FUZZ_CHECK(message->text.size() <= kVmChannelMaxText);
    FUZZ_CHECK((message->type < VmMessageType::kReady) == (side == VmChannelSide::kVmm));
    check_printable(printable(message->text), 400);
  }
}

void feed(Input& input) {
  ConsoleTail tail(
      [](const std::string& line) { check_printable(line, ConsoleTail::kMaxLineBytes); });
  while (!input.empty()) tail.feed(input.bytes(1 + input.take<uint8_t>()));
  tail.finish();
  FUZZ_CHECK(tail.lines().size() <= ConsoleTail::kMaxLines);
  check_printable(tail.panic(), ConsoleTail::kMaxLineBytes);
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  Input input(data, size);
  if (input.coin()) {
    feed(input);
  } else {
    parse(input.all());
  }
  return 0;
}
