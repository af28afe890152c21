// The file of a working set, of any bytes: refused, or every page that it names is one of the
// memory's and the written ones are among the touched.
#include "vmm/snapshot/working_set.h"

#include <cstring>

#include "tests/fuzz/input.h"
#include "vmm/snapshot/checksum.h"

namespace thimble::fuzz {
namespace {

constexpr uint64_t kPages = 300;
constexpr size_t kChecksumAt = 12;
constexpr size_t kCheckedFrom = 16;

void check(const WorkingSet& set) {
  uint64_t touched = 0;
  for_each_run(set.touched, [&](uint64_t first, uint64_t count) {
    FUZZ_CHECK(count > 0 && first < kPages && count <= kPages - first);
    touched += count;
  });
  FUZZ_CHECK(touched == set.count_touched());
  for_each_run(set.written, [&](uint64_t first, uint64_t count) {
    FUZZ_CHECK(count > 0 && first < kPages && count <= kPages - first);
  });
  FUZZ_CHECK(set.count_written() <= touched);
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  // Half of the inputs are changes of an honest file that is signed again.
  std::vector<uint8_t> file(data, data + size);
  if (size > 0 && (data[0] & 1) != 0) {
    file = WorkingSet(fuzz::kPages).write();
    for (size_t i = 1; i + 2 < size; i += 3) {
      file[(data[i] | data[i + 1] << 8) % file.size()] ^= data[i + 2];
    }
    const uint32_t checksum = crc32c(std::span(file).subspan(fuzz::kCheckedFrom));
    std::memcpy(file.data() + fuzz::kChecksumAt, &checksum, sizeof checksum);
  }
  if (const auto set = WorkingSet::read(file, fuzz::kPages)) fuzz::check(*set);
  return 0;
}
