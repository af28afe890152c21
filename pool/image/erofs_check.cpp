// See erofs_check.h.
#include "pool/image/erofs_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "pool/image/files.h"

namespace thimble::image {
namespace {

constexpr std::uint64_t kSuperblockOffset = 1024;
constexpr std::size_t kSuperblockSize = 128;
constexpr std::uint32_t kMagic = 0xE0F5E1E2;
// Offsets inside the superblock.
constexpr std::size_t kMagicAt = 0;
constexpr std::size_t kBlockBitsAt = 12;
constexpr std::size_t kBlocksAt = 36;
// 512 bytes to 64 KiB; mkfs uses 4 KiB.
constexpr unsigned kMinBlockBits = 9;
constexpr unsigned kMaxBlockBits = 16;

template <class T>
T load(const std::array<unsigned char, kSuperblockSize>& block, std::size_t offset) {
  T value;
  std::memcpy(&value, block.data() + offset, sizeof value);
  return value;
}

}  // namespace

Result<void> check_erofs_file(const std::filesystem::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno("image " + path.string());
  const auto size = check_erofs(file.get(), path);
  if (!size) return std::unexpected(size.error());
  return {};
}

FileResult<std::uint64_t> check_erofs(int file, const std::filesystem::path& path) {
  const std::string what = "image " + path.string();
  struct stat status{};
  if (::fstat(file, &status) != 0) return file_fault(what);
  if (!S_ISREG(status.st_mode)) return unsound(what + ": not a regular file: give an erofs image");
  std::array<unsigned char, kSuperblockSize> block{};
  const ssize_t count = ::pread(file, block.data(), block.size(), kSuperblockOffset);
  if (count < 0) return file_fault(what);
  if (static_cast<std::size_t>(count) < block.size() ||
      load<std::uint32_t>(block, kMagicAt) != kMagic) {
    return unsound(what +
                   ": not an erofs image: make one with `thimble image build` or mkfs.erofs");
  }
  const unsigned bits = load<std::uint8_t>(block, kBlockBitsAt);
  const std::uint64_t blocks = load<std::uint32_t>(block, kBlocksAt);
  if (bits < kMinBlockBits || bits > kMaxBlockBits || blocks == 0) {
    return unsound(what + ": damaged erofs superblock: build the image again");
  }
  const std::uint64_t needed = blocks << bits;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= needed) return size;
  return unsound(what + ": cut short: holds " + std::to_string(size) + " of " +
                 std::to_string(needed) + " bytes: build or copy the image again");
}

}  // namespace thimble::image
