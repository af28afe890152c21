// Users of a guest, as --user names them.
#pragma once

#include <cstdint>
#include <string>

namespace thimble::image {

struct Account {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

// "uid", "uid:gid", or a name of the images that thimble makes: root, user, nobody; a group by name
// likewise. Other names are known in the guest only: they count as root here.
Account find_account(const std::string& user);

}  // namespace thimble::image
