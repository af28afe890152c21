// Makes a template: boots, waits for the server, freezes, saves, publishes.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "devices/result.h"
#include "pool/image/plan.h"
#include "pool/launch/server_config.h"
#include "pool/template/freeze.h"
#include "pool/template/template.h"

namespace thimble::launch {

// Where to freeze, when nobody said: once the server is ready, if what its runtime keeps of random
// numbers is reseeded in clones and --env gives it nothing that a template's memory should not
// keep.
struct PointChoice {
  FreezeRequest::Point point = FreezeRequest::Point::kReady;
  const char* why = "";  // for before-exec: a line for the user
};
PointChoice choose_point(const ServerConfig& config, const image::Prepared& prepared);

// "ready" or "before-exec".
Result<FreezeRequest::Point> parse_point(const std::string& name);
const char* point_name(FreezeRequest::Point point);

struct TemplateOrder {
  std::string name;
  FreezeRequest::Point point = FreezeRequest::Point::kReady;
  std::chrono::milliseconds ready_limit{std::chrono::minutes(1)};
  // The user wants it ready although clones would draw the same random numbers.
  bool accepts_unreseeded = false;
  std::string note;  // TemplateFacts::note
};
struct TemplateMade {
  // Not empty: nothing was made, since clones would draw the same random numbers. One line for the
  // user, which names the process.
  std::string refusal;
};
// Of the making: the server's own bytes on stderr, lines about the VM (verbose), lines for the
// user.
struct MakingListener {
  std::function<void(std::string_view)> on_stderr;
  std::function<void(std::string_view)> on_notice;
  std::function<void()> on_end_of_stderr;  // nothing more of it comes
  Say say;
};
Result<TemplateMade> make_template(const TemplateStore& store, const TemplateOrder& order,
                                   const ServerConfig& config, const image::Prepared& prepared,
                                   const MakingListener& listener);

// The folder of a user's templates: $THIMBLE_TEMPLATES or in the cache; or in memory, gone with the
// next start of the machine.
enum class TemplatePlace { kDisk, kMemory };
Result<TemplateStore> open_templates(TemplatePlace place);
// Where the template `name` is; on the disk when it is nowhere.
Result<TemplateStore> open_templates_with(const std::string& name);

}  // namespace thimble::launch
