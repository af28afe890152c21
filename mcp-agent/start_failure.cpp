// See start_failure.h.
#include "mcp-agent/start_failure.h"

#include <cerrno>
#include <cstring>

#include "devices/text.h"
#include "guest-init/protocol.h"
#include "mcp-agent/server_run.h"

namespace thimble {

namespace {

Explained explain_exec(const std::string& command, uint32_t error) {
  if (error == ENOENT) {
    return {kExitNotFound, command + ": not found in the image (or its interpreter is not)"};
  }
  return {kExitNotExecutable, text("%s: cannot be executed: %s", command.c_str(),
                                   std::strerror(static_cast<int>(error)))};
}

}  // namespace

Explained explain(const StartFailure& failure, const StartWords& asked) {
  const uint32_t error = failure.error;
  if (failure.step == protocol::kStepExec) return explain_exec(asked.command, error);
  if (failure.step == protocol::kStepUser && error == ENOENT) {
    return {kExitFailure, "--user " + asked.user +
                              ": the image has no such user or group: give a number, or a name "
                              "of its /etc/passwd and /etc/group"};
  }
  if (failure.step == protocol::kStepWorkdir && (error == ENOENT || error == ENOTDIR)) {
    return {kExitFailure, "working directory " + asked.workdir +
                              ": there is none in the guest, which has the image and what the "
                              "command names"};
  }
  const char* who = failure.step == protocol::kStepProtocol ? "the guest refused a message: "
                    : failure.step == 0                     ? ""
                                                            : "the guest could not ";
  std::string line = who + failure.text;
  if (error != 0) line += text(": %s", std::strerror(static_cast<int>(error)));
  return {kExitFailure, line};
}

}  // namespace thimble
