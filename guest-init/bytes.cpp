#include "guest-init/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

namespace thimble::init {

Bytes bytes_of(const char* text) { return {text, strlen(text)}; }

bool equal(Bytes left, Bytes right) {
  return left.size == right.size && (left.size == 0 || !memcmp(left.data, right.data, left.size));
}

bool fail(Failure& failure, uint32_t step, int error, const char* format, ...) {
  failure.step = step;
  failure.error = error;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure.text, sizeof failure.text, format, arguments);
  va_end(arguments);
  return false;
}

}  // namespace thimble::init
