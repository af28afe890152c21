// <linux/kvm.h> for C++. In the kernel headers of Debian 12, __DECLARE_FLEX_ARRAY puts an empty
// struct before each flexible array; in C it has size 0, in C++ size 1, which changes the size of
// the structure and with it the ioctl's number. Newer headers have this definition themselves.
#pragma once

#include <linux/stddef.h>

#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(T, member) T member[0]  // NOLINT(bugprone-reserved-identifier)
#include <linux/kvm.h>

static_assert(sizeof(kvm_msrs) == 8 && sizeof(kvm_cpuid2) == 8 && sizeof(kvm_irq_routing) == 8);
static_assert(sizeof(kvm_signal_mask) == 4);
