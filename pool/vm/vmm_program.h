// The program of a VM process: inside whatever starts VMs, so that it is never missing nor of
// another version. What it does is in vm_main.h.
//
//   a program that calls become_vmm_if_asked()   itself, executed again: nothing is copied, and its
//                                                pages are in memory already
//   any other that has the library               a small program that the library carries, from
//                                                memory (memfd_create(2)): 1.8 MB, copied once
#pragma once

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

// First in main(), before there are threads or secrets: does not return in a VM process. In any
// other it notes that this program can be one.
void become_vmm_if_asked(int argument_count, char** arguments);

// The program as an open file that can be executed. It is opened or made at the first call and
// stays open until the process ends, for all VMs alike, so that they share its pages. From any
// thread.
Result<int> vmm_program();

// That of the library, as a file without a name that nobody can change.
Result<Fd> carried_vmm_program();

}  // namespace thimble
