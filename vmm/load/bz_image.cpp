// See bz_image.h.
#include "vmm/load/bz_image.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

#include "devices/text.h"
#include "vmm/load/read_file.h"

namespace thimble {

namespace {

constexpr uint64_t kHeaderOffset = 0x1f1;
constexpr uint64_t kJumpOffset = 0x200;  // a short jump over the rest of the header
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kMagic = 0x53726448;  // "HdrS"
constexpr uint16_t kOldest = 0x020c;     // the first protocol version with xloadflags
constexpr uint64_t kSector = 512;
constexpr uint64_t kParagraph = 16;  // the unit of syssize
constexpr uint64_t kEntry64 = 0x200;
constexpr uint64_t kPage = 4096;

struct Payload {
  uint64_t offset = 0;  // in the file
  uint64_t size = 0;
};

// The header as far as the file has one: later fields are zero, not the code that follows it.
std::optional<setup_header> read_header(int fd) {
  setup_header header{};
  const auto raw = std::span(reinterpret_cast<uint8_t*>(&header), sizeof(header));
  if (!read_at(fd, kHeaderOffset, raw)) return std::nullopt;
  const uint64_t jump_distance = header.jump >> 8;
  const uint64_t end = kJumpOffset + 2 + jump_distance - kHeaderOffset;
  if (end < raw.size()) std::ranges::fill(raw.subspan(end), uint8_t{0});
  return header;
}

Result<void> check_header(const setup_header& header, const char* name) {
  if (header.version < kOldest) {
    return fail(text("kernel %s: boot protocol %u.%02u: too old, 2.12 (Linux 3.8) is needed", name,
                     header.version >> 8U, header.version & 0xffU));
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0) {
    return fail(text("kernel %s: it has no 64-bit entry point: give a kernel for x86-64", name));
  }
  if ((header.loadflags & LOADED_HIGH) == 0) {
    return fail(text("kernel %s: a zImage, which loads below 1 MiB: give a bzImage", name));
  }
  if (!std::has_single_bit(header.kernel_alignment) || header.kernel_alignment < kPage) {
    return fail(text("kernel %s: its header asks for an alignment of %#x, which is not valid", name,
                     header.kernel_alignment));
  }
  return {};
}

Result<Payload> find_payload(const setup_header& header, uint64_t file_size, const char* name) {
  const uint64_t sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  const uint64_t offset = (sectors + 1) * kSector;
  const uint64_t size = header.syssize * kParagraph;
  if (size <= kEntry64) return fail(text("kernel %s: its header says it is empty", name));
  // The last paragraph may be incomplete.
  if (offset >= file_size || file_size - offset + kParagraph <= size) {
    return fail(text("kernel %s: %lu bytes, but its header tells of %lu: is it cut short?", name,
                     file_size, offset + size));
  }
  return Payload{.offset = offset, .size = std::min(size, file_size - offset)};
}

// Where the kernel wants to be. A kernel that can be moved would still unpack itself no lower than
// that, so only a place below `lowest` is worth moving away from.
std::optional<Gpa> choose_place(const setup_header& header, uint64_t size,
                                const GuestMemory& memory, Gpa lowest) {
  Gpa start = header.pref_address;
  if (start < lowest) {
    if (header.relocatable_kernel == 0) return std::nullopt;
    const uint64_t mask = uint64_t{header.kernel_alignment} - 1;
    start = (lowest + mask) & ~mask;
  }
  if (memory.at(start, size) == nullptr) return std::nullopt;
  return start;
}

}  // namespace

bool is_bz_image(int fd) {
  const auto header = read_header(fd);
  return header && header->boot_flag == kBootFlag && header->header == kMagic;
}

Result<LoadedBzImage> load_bz_image(int fd, const char* name, const GuestMemory& memory,
                                    Gpa lowest) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return fail_errno(text("kernel %s", name));
  const auto header = read_header(fd);
  if (!header || !is_bz_image(fd)) return fail(text("kernel %s: not a bzImage", name));
  if (auto done = check_header(*header, name); !done) return std::unexpected(done.error());
  const auto payload = find_payload(*header, static_cast<uint64_t>(info.st_size), name);
  if (!payload) return std::unexpected(payload.error());

  const uint64_t room = std::max<uint64_t>(header->init_size, payload->size);
  const auto start = choose_place(*header, room, memory, lowest);
  if (!start) {
    return fail(
        text("kernel %s: it needs %lu MiB of memory at %#llx to unpack itself, which the guest "
             "does not have: give it more memory",
             name, (room >> 20) + 1, header->pref_address));
  }
  if (!read_at(fd, payload->offset, std::span(memory.at(*start, room), payload->size))) {
    return fail_errno(text("read kernel %s", name));
  }
  return LoadedBzImage{.entry = *start + kEntry64, .end = *start + room, .header = *header};
}

}  // namespace thimble
