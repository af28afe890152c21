// Descriptors that a C program hands in stay its own: thimble keeps copies.
#pragma once

#include <fcntl.h>

#include <string>

#include "thimble/fd.h"
#include "thimble/result.h"

namespace thimble::capi {

// `what` names it in the error.
inline Result<Fd> duplicate(int fd, const std::string& what) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_as(ErrorKind::kInvalid, fail_errno(what).error());
  return copy;
}

}  // namespace thimble::capi
