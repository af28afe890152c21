#include "guest-init/names.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

namespace thimble::init {

namespace {

constexpr int kPort = 53;
constexpr int kMaxAtOnce = 16;
constexpr size_t kMaxMessage = 512;  // RFC 1035, 4.2.1
constexpr size_t kHeader = 12;
constexpr size_t kMaxName = 255;

// The second and third byte of the header.
constexpr unsigned char kResponse = 0x80;
constexpr unsigned char kOpcode = 0x78;
constexpr unsigned char kRecursionWanted = 0x01;
constexpr unsigned char kRecursionAvailable = 0x80;

enum Code : unsigned char { kNoError = 0, kFormatError = 1, kNoSuchName = 3, kNotImplemented = 4 };
enum Type : unsigned { kA = 1, kAaaa = 28 };

// Where the name ends, behind its last, empty label; 0 when it is none. `last` is its last label.
size_t end_of_name(const unsigned char* message, size_t size, size_t& last) {
  size_t at = kHeader;
  last = at;
  while (at < size && message[at] != 0) {
    const size_t length = message[at];
    if (length > 63 || at + 1 + length - kHeader > kMaxName) return 0;
    last = at;
    at += 1 + length;
  }
  return at < size ? at + 1 : 0;
}

bool is_localhost(const unsigned char* label) {
  constexpr const char* kName = "localhost";
  return label[0] == strlen(kName) &&
         strncasecmp(reinterpret_cast<const char*>(label) + 1, kName, label[0]) == 0;
}

// Puts one address behind the question; how many bytes it took.
size_t add_address(unsigned char* at, bool four) {
  // A pointer to the question's name, type, class IN, a day, the length of what follows.
  const unsigned char head[] = {0xc0, kHeader, 0, static_cast<unsigned char>(four ? kA : kAaaa),
                                0,    1,       0, 1,
                                0x51, 0x80,    0, static_cast<unsigned char>(four ? 4 : 16)};
  const unsigned char loopback4[4] = {127, 0, 0, 1};
  const unsigned char loopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  memcpy(at, head, sizeof head);
  memcpy(at + sizeof head, four ? loopback4 : loopback6, four ? 4 : 16);
  return sizeof head + (four ? 4 : 16);
}

// The header of an answer with so many questions and addresses in it.
void set_header(unsigned char* message, Code code, unsigned char questions,
                unsigned char addresses) {
  message[2] = kResponse | (message[2] & (kOpcode | kRecursionWanted));
  message[3] = kRecursionAvailable | code;
  memset(message + 4, 0, kHeader - 4);
  message[5] = questions;
  message[7] = addresses;
}

}  // namespace

size_t answer_question(unsigned char* message, size_t size, size_t capacity) {
  if (size < kHeader || (message[2] & kResponse)) return 0;
  if (message[2] & kOpcode) return set_header(message, kNotImplemented, 0, 0), kHeader;
  size_t last = 0;
  const bool one = message[4] == 0 && message[5] == 1;
  const size_t name_end = one ? end_of_name(message, size, last) : 0;
  const size_t end = name_end + 4;  // type and class
  if (name_end == 0 || end > size) return set_header(message, kFormatError, 0, 0), kHeader;
  if (!is_localhost(message + last)) return set_header(message, kNoSuchName, 1, 0), end;
  const unsigned type = message[name_end] * 256U + message[name_end + 1];
  const bool has_address = (type == kA || type == kAaaa) && end + 28 <= capacity;
  set_header(message, kNoError, 1, has_address ? 1 : 0);
  return end + (has_address ? add_address(message + end, type == kA) : 0);
}

int open_names() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return fd;
  }
  if (fd >= 0) close(fd);
  return -1;
}

void answer_names(int socket) {
  for (int i = 0; i < kMaxAtOnce; ++i) {
    unsigned char message[kMaxMessage];
    sockaddr_in from;
    socklen_t length = sizeof from;
    const ssize_t got =
        recvfrom(socket, message, sizeof message, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0) return;
    const size_t size = answer_question(message, static_cast<size_t>(got), sizeof message);
    if (size && sendto(socket, message, size, 0, reinterpret_cast<sockaddr*>(&from), length) < 0) {
      continue;  // who asked has gone, or takes no more: it asks again
    }
  }
}

}  // namespace thimble::init
