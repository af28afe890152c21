// /dev/kvm and the descriptors it hands out, with errors that say what to do. Thin: each function
// is one ioctl of Documentation/virt/kvm/api.rst, named after it.
#pragma once

#include <cstdint>
#include <string_view>

#include "devices/fd.h"
#include "devices/result.h"
#include "vmm/linux_kvm.h"

namespace thimble {

// ioctl with a pointer or integer argument; the error names the request.
template <class Argument>
Result<int> kvm_ioctl(int fd, unsigned long request, std::string_view name, Argument argument);

class Kvm {
 public:
  // Opens the device and checks that it has what this VMM stands on (API version 12, split irqchip,
  // ioeventfd, interrupt messages). `path` is /dev/kvm but for tests.
  static Result<Kvm> open(const char* path = "/dev/kvm");

  // Opens the device and checks nothing.
  static Result<Fd> open_device(const char* path = "/dev/kvm");
  // The same checks for a device that is already open.
  static Result<Kvm> adopt(Fd fd, const char* path = "/dev/kvm");

  [[nodiscard]] int fd() const { return fd_.get(); }
  // Value of an extension; 0 when it is not there.
  [[nodiscard]] int extension(int cap) const;
  [[nodiscard]] Result<Fd> create_vm() const;
  // Bytes of the kvm_run area shared by each vCPU.
  [[nodiscard]] Result<size_t> vcpu_mmap_size() const;

 private:
  explicit Kvm(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace thimble

#include <sys/ioctl.h>

#include <string>

namespace thimble {

template <class Argument>
Result<int> kvm_ioctl(int fd, unsigned long request, std::string_view name, Argument argument) {
  const int value = ::ioctl(fd, request, argument);
  if (value < 0) return fail_errno(std::string("KVM: ") + std::string(name));
  return value;
}

}  // namespace thimble
