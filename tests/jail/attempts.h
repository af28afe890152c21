// What a VMM process that its guest has taken over would try. Each attempt goes by raw system calls
// and tells whether it got anywhere.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>

namespace thimble::test {

// What the attacker knows of the world outside: more than a real one would.
struct World {
  pid_t parent = -1;            // host pids
  pid_t other_vm = -1;          // another jailed process
  unsigned short tcp_port = 0;  // somebody listens on 127.0.0.1
  std::string abstract_name;    // … on an abstract AF_UNIX name (without the leading zero byte)
  std::string socket_path;      // … and on a socket file
  bool jailed = false;          // in a pid namespace of its own
  int read_only = -1;           // an inherited descriptor of a file opened for reading
};

struct Attempt {
  const char* name;
  const char* call;  // the system call that a filter must stop
  // True when it got something it must not have. Without filters it must be false.
  bool (*succeeds)(const World& world);
};

std::span<const Attempt> attempts();

}  // namespace thimble::test
