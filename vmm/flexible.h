// KVM's structures that end in a flexible array (kvm_cpuid2, kvm_msrs, kvm_irq_routing): a header
// and room for a number of entries in one zeroed allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace thimble {

template <class Header, class Entry>
class Flexible {
 public:
  explicit Flexible(size_t entries)
      : storage_((sizeof(Header) + entries * sizeof(Entry) + sizeof(uint64_t) - 1) /
                 sizeof(uint64_t)) {}

  Header* header() { return reinterpret_cast<Header*>(storage_.data()); }
  Entry* entries() { return reinterpret_cast<Entry*>(header() + 1); }

 private:
  std::vector<uint64_t> storage_;
};

}  // namespace thimble
