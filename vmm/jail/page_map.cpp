// See page_map.h.
#include "vmm/jail/page_map.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

namespace thimble {

namespace {

using Sets = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

bool set_capabilities(const Sets& sets) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  return ::syscall(SYS_capset, &header, sets.data()) == 0;
}

}  // namespace

// The host shows page frame numbers to whoever had CAP_SYS_ADMIN over it when the file was opened:
// root's VMM, where the host refuses user namespaces.
Fd open_page_map() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Sets before{};
  if (::syscall(SYS_capget, &header, before.data()) != 0) return Fd();
  Sets without = before;
  without[0].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
  if (!set_capabilities(without)) return Fd();
  Fd file(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  set_capabilities(before);
  return file;
}

}  // namespace thimble
