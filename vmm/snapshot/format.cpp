// See format.h.
#include "vmm/snapshot/format.h"

#include <algorithm>
#include <cstring>

#include "devices/text.h"
#include "vmm/snapshot/checksum.h"

namespace thimble {

namespace {

constexpr std::string_view kMagic = "THMBSNAP";
constexpr size_t kTrailer = sizeof(uint32_t);
constexpr size_t kHeader = 8 + 4 + 4 + 8;
constexpr uint32_t kMaxSections = 256;

template <class T>
void put(std::vector<uint8_t>& out, T value) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&value);
  out.insert(out.end(), raw, raw + sizeof(value));
}

// Takes from the front of what is left.
class Cursor {
 public:
  explicit Cursor(std::span<const uint8_t> bytes) : rest_(bytes) {}

  template <class T>
  bool take(T& value) {
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return true;
  }
  bool take(std::span<const uint8_t>& bytes, uint64_t size) {
    if (rest_.size() < size) return false;
    bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return true;
  }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::span<const uint8_t> rest_;
};

bool printable(std::span<const uint8_t> name) {
  return std::ranges::all_of(name, [](uint8_t c) { return c > ' ' && c < 0x7f; });
}

Result<Section> read_section(Cursor& cursor) {
  Section section;
  uint8_t name_size = 0;
  uint64_t size = 0;
  uint32_t checksum = 0;
  std::span<const uint8_t> name;
  std::span<const uint8_t> payload;
  if (!cursor.take(name_size) || !cursor.take(name, name_size) || !printable(name)) {
    return fail("a section's name cannot be read");
  }
  section.name.assign(name.begin(), name.end());
  if (!cursor.take(section.version) || !cursor.take(size) || !cursor.take(checksum) ||
      !cursor.take(payload, size)) {
    return fail("section '" + section.name + "' runs past the end");
  }
  if (crc32c(payload) != checksum) {
    return fail("section '" + section.name + "' was altered: its checksum does not fit");
  }
  section.payload.assign(payload.begin(), payload.end());
  return section;
}

// Magic, version and length before the checksum: "not a snapshot" and "cut" are more help than
// "altered".
Result<uint32_t> read_header(std::span<const uint8_t> file, Cursor& cursor) {
  std::span<const uint8_t> magic;
  uint32_t version = 0;
  uint32_t count = 0;
  uint64_t size = 0;
  if (!cursor.take(magic, kMagic.size()) ||
      std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    return fail("not a snapshot of thimble");
  }
  if (!cursor.take(version)) return fail("the file was cut");
  if (version != kSnapshotFormat) {
    return fail(ErrorKind::kMismatch,
                text("format version %u; this thimble reads version %u: make the snapshot again",
                     version, kSnapshotFormat));
  }
  if (!cursor.take(count) || !cursor.take(size)) return fail("the file was cut");
  if (size != file.size()) {
    return fail(text("the file has %zu bytes and was written with %llu: it was cut or altered",
                     file.size(), static_cast<unsigned long long>(size)));
  }
  if (count > kMaxSections) return fail(text("it claims to have %u sections", count));
  return count;
}

}  // namespace

std::vector<uint8_t> write_sections(std::span<const Section> sections) {
  std::vector<uint8_t> out(kMagic.begin(), kMagic.end());
  put(out, kSnapshotFormat);
  put(out, static_cast<uint32_t>(sections.size()));
  const size_t length_at = out.size();
  put(out, uint64_t{0});
  for (const Section& section : sections) {
    put(out, static_cast<uint8_t>(section.name.size()));
    out.insert(out.end(), section.name.begin(), section.name.end());
    put(out, section.version);
    put(out, static_cast<uint64_t>(section.payload.size()));
    put(out, crc32c(section.payload));
    out.insert(out.end(), section.payload.begin(), section.payload.end());
  }
  const uint64_t length = out.size() + kTrailer;
  std::memcpy(out.data() + length_at, &length, sizeof(length));
  put(out, crc32c(out));
  return out;
}

Result<std::vector<Section>> read_sections(std::span<const uint8_t> file) {
  Cursor cursor(file);
  const auto count = read_header(file, cursor);
  if (!count) return std::unexpected(count.error());
  if (file.size() < kHeader + kTrailer) return fail("the file was cut");
  const auto body = file.first(file.size() - kTrailer);
  uint32_t checksum = 0;
  std::memcpy(&checksum, file.data() + body.size(), sizeof(checksum));
  const bool whole = crc32c(body) == checksum;

  Cursor rest(body.subspan(kHeader));
  std::vector<Section> sections;
  for (uint32_t i = 0; i < *count; ++i) {
    auto section = read_section(rest);
    if (!section) return std::unexpected(section.error());
    sections.push_back(std::move(*section));
  }
  if (!rest.empty() || !whole) return fail("the file was altered: its checksum does not fit");
  return sections;
}

}  // namespace thimble
