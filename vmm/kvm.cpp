// Opening /dev/kvm; see kvm.h.
#include "vmm/kvm.h"

#include <fcntl.h>

#include <string>

#include "devices/text.h"

namespace thimble {

namespace {

struct Needed {
  int cap;
  const char* name;
};

// What the design rests on; all have been in Linux since 4.7.
constexpr Needed kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "user memory"},
    {KVM_CAP_SPLIT_IRQCHIP, "split irqchip"},
    {KVM_CAP_SIGNAL_MSI, "interrupt messages from user space"},
    {KVM_CAP_IOEVENTFD, "ioeventfd"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

Error cannot_open(const char* path, int err) {
  const char* advice = "";
  if (err == ENOENT) advice = ": load the kvm module, or switch virtualization on in the firmware";
  if (err == EACCES || err == EPERM) advice = ": add yourself to group kvm";
  const bool denied = error_kind(err) == ErrorKind::kDenied;
  return Error{text("open %s: %s%s", path, std::strerror(err), advice),
               denied ? ErrorKind::kDenied : ErrorKind::kUnsupported};
}

}  // namespace

Result<Fd> Kvm::open_device(const char* path) {
  Fd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (!fd) return std::unexpected(cannot_open(path, errno));
  return fd;
}

Result<Kvm> Kvm::open(const char* path) {
  auto fd = open_device(path);
  if (!fd) return std::unexpected(fd.error());
  return adopt(std::move(*fd), path);
}

Result<Kvm> Kvm::adopt(Fd fd, const char* path) {
  auto version = kvm_ioctl(fd.get(), KVM_GET_API_VERSION, "KVM_GET_API_VERSION", 0);
  if (!version) return fail_as(ErrorKind::kUnsupported, version.error());
  if (*version != KVM_API_VERSION) {
    return fail(ErrorKind::kUnsupported, text("%s: API version %d is not 12", path, *version));
  }
  Kvm kvm(std::move(fd));
  for (const Needed& needed : kNeeded) {
    if (kvm.extension(needed.cap) <= 0) {
      return fail(
          ErrorKind::kUnsupported,
          text("%s: the host's KVM has no %s: a newer kernel is needed", path, needed.name));
    }
  }
  return kvm;
}

int Kvm::extension(int cap) const {
  const int value = ::ioctl(fd_.get(), KVM_CHECK_EXTENSION, cap);
  return value < 0 ? 0 : value;
}

Result<Fd> Kvm::create_vm() const {
  // Creating a VM is interrupted by signals when the kernel starts a thread for it: try again.
  int vm = -1;
  do {
    vm = ::ioctl(fd_.get(), KVM_CREATE_VM, 0);
  } while (vm < 0 && errno == EINTR);
  if (vm < 0) return fail_errno("KVM: KVM_CREATE_VM");
  return Fd(vm);
}

Result<size_t> Kvm::vcpu_mmap_size() const {
  auto size = kvm_ioctl(fd_.get(), KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0);
  if (!size) return std::unexpected(size.error());
  return static_cast<size_t>(*size);
}

}  // namespace thimble
