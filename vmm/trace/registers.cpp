// See registers.h.
#include "vmm/trace/registers.h"

#include <array>

namespace thimble {

// While the divisor latch is open the first two are its halves; a trace does not follow that.
std::string_view serial_register(uint64_t offset, bool write) {
  constexpr std::array<std::string_view, 8> kRead = {"RBR", "IER", "IIR", "LCR",
                                                     "MCR", "LSR", "MSR", "SCR"};
  constexpr std::array<std::string_view, 8> kWrite = {"THR", "IER", "FCR", "LCR",
                                                      "MCR", "LSR", "MSR", "SCR"};
  if (offset >= kRead.size()) return {};
  return write ? kWrite[offset] : kRead[offset];
}

std::string_view ioapic_register(uint64_t offset, bool /*write*/) {
  if (offset == 0) return "IOREGSEL";
  return offset == 0x10 ? "IOWIN" : std::string_view();
}

std::string_view sleep_register(uint64_t offset, bool /*write*/) {
  return offset == 0 ? "SleepControl" : "SleepStatus";
}

// virtio 1.2, 4.2.2
std::string_view virtio_mmio_register(uint64_t offset, bool /*write*/) {
  switch (offset) {
    case 0x000:
      return "MagicValue";
    case 0x004:
      return "Version";
    case 0x008:
      return "DeviceID";
    case 0x00c:
      return "VendorID";
    case 0x010:
      return "DeviceFeatures";
    case 0x014:
      return "DeviceFeaturesSel";
    case 0x020:
      return "DriverFeatures";
    case 0x024:
      return "DriverFeaturesSel";
    case 0x030:
      return "QueueSel";
    case 0x034:
      return "QueueNumMax";
    case 0x038:
      return "QueueNum";
    case 0x044:
      return "QueueReady";
    case 0x050:
      return "QueueNotify";
    case 0x060:
      return "InterruptStatus";
    case 0x064:
      return "InterruptACK";
    case 0x070:
      return "Status";
    case 0x080:
      return "QueueDescLow";
    case 0x084:
      return "QueueDescHigh";
    case 0x090:
      return "QueueDriverLow";
    case 0x094:
      return "QueueDriverHigh";
    case 0x0a0:
      return "QueueDeviceLow";
    case 0x0a4:
      return "QueueDeviceHigh";
    case 0x0ac:
      return "SHMSel";
    case 0x0b0:
      return "SHMLenLow";
    case 0x0b4:
      return "SHMLenHigh";
    case 0x0b8:
      return "SHMBaseLow";
    case 0x0bc:
      return "SHMBaseHigh";
    case 0x0c0:
      return "QueueReset";
    case 0x0fc:
      return "ConfigGeneration";
    default:
      return offset >= 0x100 ? "Config" : std::string_view();
  }
}

}  // namespace thimble
