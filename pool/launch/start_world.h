// What starts are made of on this host: images, templates and their store, the daemon, turns to
// boot (start_plan.h has the order).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/image/plan.h"
#include "pool/launch/auto_template.h"
#include "pool/launch/server_config.h"
#include "pool/launch/start_plan.h"

namespace thimble::launch {

// What the world asks of whoever starts the server.
struct StartCaller {
  std::function<Result<void>()> check_host;  // whether it can run Linux guests
  Say say;
  std::function<bool()> client_has_left;
  std::vector<std::string> words;  // of `thimble run`, for a template that is made for later
};

class HostStartWorld final : public StartWorld {
 public:
  // Builds what is missing of the image: may take minutes.
  static Result<std::unique_ptr<HostStartWorld>> open(const ServerConfig& config,
                                                      StartCaller caller);

  // Not empty: the image is known to lack the command, and nothing is to be started.
  [[nodiscard]] const std::string& not_found() const { return prepared_.not_found; }
  [[nodiscard]] bool uses_templates() const { return templates_.has_value(); }

  Result<std::optional<Clone>> find_clone() override;
  bool has_template() override { return templates_->is_there(); }
  Result<StartSlot> take_turn(bool wants_clone) override;
  Result<Start> make_boot() override;
  void make_template(const std::string& refused, StartSlot turn) override;
  bool client_has_left() override { return caller_.client_has_left(); }
  void say(const std::string& line) override { caller_.say(line); }

 private:
  HostStartWorld(const ServerConfig& config, StartCaller caller)
      : config_(config), caller_(std::move(caller)) {}

  const ServerConfig config_;
  StartCaller caller_;
  image::Prepared prepared_;
  ServerSpec server_;
  std::optional<AutoTemplate> templates_;
};

// The clone of the template that the configuration names: there is no other way then.
Result<Start> start_of_template(const ServerConfig& config, const StartCaller& caller);

}  // namespace thimble::launch
