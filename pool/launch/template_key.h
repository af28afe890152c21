// The name that thimble gives to a template that it makes by itself: "auto-" and a digest over all
// that went into it. A change of any of that is another name, so an old template is never used for
// something new:
//
//   this program (its build ID: VMM, guest-init, formats), the host's kernel and its CPU's features
//   the guest's kernel, the image and every mounted copy: which file, and when it changed last
//   memory and vCPUs
//   frozen ready: command, environment, directory and user of the server besides
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/image/plan.h"
#include "pool/launch/server_config.h"
#include "pool/template/freeze.h"

namespace thimble::launch {

class TemplateKey {
 public:
  static Result<TemplateKey> collect(const ServerConfig& config, const image::Prepared& prepared,
                                     const ServerSpec& server);

  [[nodiscard]] std::string name(FreezeRequest::Point point) const;

 private:
  TemplateKey(std::string common, std::string server)
      : common_(std::move(common)), server_(std::move(server)) {}

  std::string common_;  // what goes in, wherever it is frozen
  std::string server_;  // … if that is ready
};

}  // namespace thimble::launch
