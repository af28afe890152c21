// The wire between lab-client (outside the box) and lab-agent (inside): one TCP connection per
// command, carrying frames. A frame is an 8-byte header and a payload; all numbers little-endian.
//
//   client to agent: Hello(token), then Exec or Forward; then Data/Eof on stdin, Credit and Close
//   on
//                    stdout and stderr, Signal. The end of the connection means that the client is
//                    gone: the command and all its children are killed.
//   agent to client: Data/Eof on stdout and stderr, Credit and Close on stdin, Note (a line for the
//                    user), Port (answer to Forward) and last of all Exit.
//
// Each stream has a credit window, so that a reader who stops holds back his own stream only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thimble::lab {

enum class FrameType : uint8_t {
  kHello = 1,  // the box's token
  kExec = 2,   // a packed list of strings, see pack.h: directory, uid, gid, groups, argc, argv, env
  kForward = 3,  // u32: a port of the box's loopback
  kData = 4,
  kEof = 5,     // the sender's side of the stream has ended
  kCredit = 6,  // u32: that many bytes more may be sent on the stream
  kClose = 7,   // the receiver of the stream takes no more
  kSignal = 8,  // u32: signal number for the command's process group
  kNote = 9,
  kPort = 10,  // u32
  kExit = 11,  // u32: exit status, 128+n for signal n
};

inline constexpr uint8_t kStdin = 0;
inline constexpr uint8_t kStdout = 1;
inline constexpr uint8_t kStderr = 2;

struct FrameHeader {
  FrameType type;
  uint8_t stream;
  uint16_t reserved;
  uint32_t length;  // of the payload, bytes
};
static_assert(sizeof(FrameHeader) == 8);

inline constexpr uint16_t kAgentPort = 7;              // inside the box
inline constexpr size_t kWindow = size_t{256} * 1024;  // bytes of a stream that may be on their way
inline constexpr size_t kChunk = size_t{32} * 1024;    // largest Data payload
inline constexpr size_t kMaxFrame = size_t{4} * 1024 * 1024;  // an Exec with a large environment
inline constexpr size_t kMaxHello = 256;                      // before the token has been shown

inline constexpr int kLabFailure = 125;  // exit status when the lab itself failed
inline constexpr int kCannotExecute = 126;
inline constexpr int kNotFound = 127;

}  // namespace thimble::lab
