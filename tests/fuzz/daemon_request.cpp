// What a client says to the daemon: any datagram is refused or understood, and what was understood
// means the same when it is written again.
#include "pool/daemon/daemon_wire.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {
namespace {

void check(const DaemonRequest& request) {
  const bool names_template =
      request.op == DaemonRequest::Op::kClaim || request.op == DaemonRequest::Op::kWarm;
  if (!names_template) return;
  FUZZ_CHECK(request.id.store.starts_with('/'));
  FUZZ_CHECK(!request.id.name.empty() && request.id.name.front() != '.');
  FUZZ_CHECK(request.id.name.find('/') == std::string::npos);
  FUZZ_CHECK(request.label.size() <= 300);
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  const auto request = parse_request({reinterpret_cast<const char*>(data), size});
  if (!request) return 0;
  fuzz::check(*request);
  const auto again = parse_request(write_request(*request));
  FUZZ_CHECK(again);
  FUZZ_CHECK(again->op == request->op && again->console == request->console);
  FUZZ_CHECK(again->warm_vms == request->warm_vms);
  return 0;
}
