// SHA-256 by OpenSSL's own routine, called directly. The EVP interface would set up providers,
// configuration and error texts first: 4 million instructions in each `thimble run`, by sampling
// it.
#define OPENSSL_API_COMPAT 0x10100000L  // the direct calls have no other drawback than being old
#include "pool/image/sha256.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "pool/image/files.h"

namespace thimble::image {
namespace {

class Sha256 {
 public:
  Sha256() { SHA256_Init(&context_); }

  void update(const void* data, std::size_t size) { SHA256_Update(&context_, data, size); }

  std::string hex() {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256_Final(digest.data(), &context_);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : digest) {
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return text;
  }

 private:
  SHA256_CTX context_{};
};

}  // namespace

std::string sha256_text(std::string_view text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

Result<std::string> sha256_file(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno("open " + path.string());
  Sha256 hash;
  std::vector<char> buffer(1 << 18);
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0) return fail_errno("read " + path.string());
    if (count == 0) return hash.hex();
    hash.update(buffer.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace thimble::image
