// A guest's session run as an ordinary process, steered over unix sockets as the host would over
// vsock. Everything is waited for with a limit, so that a hang is a failure and not a hang.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "tests/unit/guest-init/fields.h"

namespace thimble::test {

// Owns the process, its sockets and its temporary directory.
class Guest {
 public:
  Guest();
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Connects and takes the hello, whose state is then found().
  void connect_control();
  [[nodiscard]] uint32_t found() const { return found_; }
  void connect_streams();
  [[nodiscard]] int connect_stream(uint32_t stream, uint32_t process = 0);  // with its preface
  [[nodiscard]] int connect_raw_control() const;
  [[nodiscard]] int connect_raw_stream() const;
  // Control, the three streams, configure: ready for a start.
  void prepare();

  void send(uint16_t type, const Fields& fields = {}) const;
  void send_bytes(std::string_view bytes) const;
  // The next message; type 0 when the channel is closed or nothing comes for ten seconds.
  [[nodiscard]] Message receive();

  // Starts `sh -c script` with PATH and the given graces; takes the answer.
  Message start_shell(const std::string& script, uint32_t stdin_grace_ms = 0,
                      uint32_t term_grace_ms = 0);
  static Fields command(std::initializer_list<std::string_view> arguments);

  void close_stdin();
  void close_stdout();
  void close_control();
  // All that comes until the other end stops sending.
  [[nodiscard]] static std::string read_all(int fd);

  // Waits for the session to end ("power off"); its exit status, or -1 when it does not.
  [[nodiscard]] int wait_for_power_off();

  [[nodiscard]] pid_t pid() const { return process_; }
  [[nodiscard]] int input() const { return input_; }
  [[nodiscard]] int output() const { return output_; }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  pid_t process_ = -1;
  pid_t server_ = -1;  // the last one started; its process group
  uint32_t found_ = 0;
  int control_ = -1;
  int input_ = -1;
  int output_ = -1;
  int error_ = -1;
};

}  // namespace thimble::test
