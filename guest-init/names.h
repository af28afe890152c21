// Answers for names on 127.0.0.1:53, where every resolver asks that has been told of no other
// server: there is no network, so no name exists but localhost. Without an answer glibc would
// report a failure that may pass (EAI_AGAIN), and others wait for seconds.
#pragma once

#include <stddef.h>

namespace thimble::init {

// A socket that does not block, the caller's; -1 when there can be none.
[[nodiscard]] int open_names();

// Answers what has come.
void answer_names(int socket);

// The answer (RFC 1035) to a question of `size` bytes, made in its place; its size, or 0 for what
// gets none. `capacity` is that of the buffer.
[[nodiscard]] size_t answer_question(unsigned char* message, size_t size, size_t capacity);

}  // namespace thimble::init
