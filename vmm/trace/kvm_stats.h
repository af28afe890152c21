// KVM's own counters of a VM or a vCPU, by its binary statistics file (Linux,
// Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD):
//
//   header       flags, size of names, number of descriptors, offsets of the three parts below
//   id           a string
//   descriptors  each: what kind of number, where in the data; its name follows
//   data         64-bit numbers
#pragma once

#include <span>
#include <vector>

#include "devices/fd.h"
#include "thimble/trace.h"

namespace thimble {

// The statistics file of a VM's or vCPU's descriptor; none where the kernel is older than 5.14.
Fd open_kvm_stats(int fd);

// Reads the file from where it stands, once: one value for each counter (the first of a
// histogram's buckets is left out with the others).
std::vector<KvmStatistic> read_kvm_stats(int file);

// The numbers in such a file's bytes; what does not add up is left out.
std::vector<KvmStatistic> parse_kvm_stats(std::span<const uint8_t> bytes);

}  // namespace thimble
