// See blk_request.h.
#include "devices/virtio/blk_request.h"

#include <algorithm>

namespace thimble {

namespace {

struct Header {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

// The bytes [skip, skip + size) of `buffers`.
std::vector<iovec> slice(const std::vector<Buffer>& buffers, uint64_t skip, uint64_t size) {
  std::vector<iovec> out;
  out.reserve(buffers.size());
  for (const Buffer& buffer : buffers) {
    const uint64_t skipped = std::min<uint64_t>(skip, buffer.size);
    const uint64_t length = std::min(buffer.size - skipped, size);
    if (length > 0) out.push_back({buffer.data + skipped, length});
    skip -= skipped;
    size -= length;
  }
  return out;
}

}  // namespace

std::optional<BlkRequest> BlkRequest::parse(const Chain& chain) {
  Header header{};
  const std::span bytes(reinterpret_cast<uint8_t*>(&header), sizeof(header));
  const uint64_t writable = chain.writable_size();
  if (chain.read(0, bytes) != sizeof(header) || writable == 0) return std::nullopt;

  BlkRequest request;
  request.head = chain.head;
  request.type = BlkType{header.type};
  request.sector = header.sector;
  request.status = static_cast<uint8_t*>(slice(chain.writable, writable - 1, 1).front().iov_base);
  if (request.type == BlkType::kOut) {
    request.data_bytes = chain.readable_size() - sizeof(header);
    request.data = slice(chain.readable, sizeof(header), request.data_bytes);
  } else {
    request.data_bytes = writable - 1;
    request.data = slice(chain.writable, 0, request.data_bytes);
  }
  return request;
}

bool BlkRequest::fits(uint64_t capacity) const {
  if (data_bytes % kSectorBytes != 0 || sector > capacity) return false;
  return data_bytes / kSectorBytes <= capacity - sector;
}

}  // namespace thimble
