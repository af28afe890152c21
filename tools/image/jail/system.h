// What a jail sees of the host's system: the folders of installed programs and libraries, the few
// files of /etc that the tools read, Debian's package lists, and programs that lie elsewhere (node
// of a version manager, say), each alone and not with the home directory around it.
#pragma once

#include "tools/image/jail/root.h"

namespace thimble::image {

// Programs of the caller's PATH that the jail has under their names in here.
inline constexpr const char* kJailPrograms = "/programs";
inline constexpr const char* kJailPath =
    "/programs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Programs, libraries and mkfs.erofs alone.
RootTree packing_tree();

// For builds: configuration, package lists and all tools as well. Looks programs up in this
// process's PATH. When node is a version manager's stand-in, it is started once and asked for the
// real one.
RootTree building_tree();

// What finding a host by its name takes.
void add_name_service(RootTree& tree);

}  // namespace thimble::image
