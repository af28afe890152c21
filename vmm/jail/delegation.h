// Cgroups (v2) that were given to this process to divide up: marked with user.delegate or
// trusted.delegate, as systemd marks those of units with Delegate= (systemd, "Control Group APIs
// and Delegation"). Nothing is changed in groups that others use.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

// The group in which this process may make groups of VMs beside its own: the one above, when it is
// delegated, may be written and gives its children the controller of memory or of processes. Empty
// when there is none.
std::string place_for_cgroups();

// Of a service whose unit says Delegate=, before its first VM: makes such a place of its group. The
// process goes into a child of it ("daemon"), unless DelegateSubgroup=daemon has put it there; the
// group is marked, which systemd 252 does not do for a user's services; and its children get the
// controllers. What cannot be done is left: VMs are without limits of their own then.
void divide_delegated_cgroup();

// Writes a file of a group; errno tells why not.
bool write_group_file(const std::string& path, std::string_view content);

}  // namespace thimble
