// See kvm_stats.h.
#include "vmm/trace/kvm_stats.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/linux_kvm.h"

namespace thimble {

namespace {

constexpr size_t kMaxFile = 256UL * 1024;

template <class T>
bool take(std::span<const uint8_t> bytes, uint64_t offset, T& out) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return false;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return true;
}

struct Header {
  uint32_t flags;
  uint32_t name_size;
  uint32_t descriptors;
  uint32_t id_offset;
  uint32_t descriptor_offset;
  uint32_t data_offset;
};

// Without the name, which follows.
struct Descriptor {
  uint32_t flags;
  int16_t exponent;
  uint16_t size;  // how many numbers
  uint32_t offset;
  uint32_t bucket_size;
};

}  // namespace

Fd open_kvm_stats(int fd) { return Fd(ioctl(fd, KVM_GET_STATS_FD, nullptr)); }

std::vector<KvmStatistic> read_kvm_stats(int file) {
  std::vector<uint8_t> bytes;
  uint8_t piece[4096];
  while (bytes.size() < kMaxFile) {
    const ssize_t got = ::read(file, piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.insert(bytes.end(), piece, piece + got);
  }
  return parse_kvm_stats(bytes);
}

std::vector<KvmStatistic> parse_kvm_stats(std::span<const uint8_t> bytes) {
  std::vector<KvmStatistic> out;
  Header header{};
  if (!take(bytes, 0, header)) return out;
  const uint64_t stride = sizeof(Descriptor) + uint64_t{header.name_size};
  for (uint64_t i = 0; i < header.descriptors; ++i) {
    const uint64_t at = header.descriptor_offset + i * stride;
    Descriptor descriptor{};
    if (!take(bytes, at, descriptor) || at + stride > bytes.size()) return out;
    const auto* name = reinterpret_cast<const char*>(bytes.data() + at + sizeof(descriptor));
    KvmStatistic statistic;
    statistic.name.assign(name, strnlen(name, header.name_size));
    const uint64_t data = uint64_t{header.data_offset} + descriptor.offset;
    if (descriptor.size == 1 && take(bytes, data, statistic.value)) out.push_back(statistic);
  }
  return out;
}

}  // namespace thimble
