// What asks for a process in a VM: any datagram is refused or understood, and what was understood
// means the same when it is written again.
#include "pool/guest/exec_wire.h"

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  const auto words = parse_exec_words({reinterpret_cast<const char*>(data), size});
  if (!words) return 0;
  FUZZ_CHECK(!words->empty());
  for (const std::string& word : *words) FUZZ_CHECK(word.find('\0') == std::string::npos);
  const auto request = parse_exec_request(*words);
  if (!request) return 0;
  FUZZ_CHECK(!request->command.empty());
  const auto again = parse_exec_request(exec_words(*request));
  FUZZ_CHECK(again);
  FUZZ_CHECK(again->command == request->command && again->environment == request->environment);
  FUZZ_CHECK(again->workdir == request->workdir && again->user == request->user);
  FUZZ_CHECK(again->terminal.has_value() == request->terminal.has_value());
  return 0;
}
