// Makes a template: boots, waits for the server, freezes, saves, publishes.
#pragma once

#include <chrono>
#include <string>

#include "devices/result.h"
#include "pool/image/plan.h"
#include "pool/template/freeze.h"
#include "pool/template/template.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// Where to freeze, when nobody said: once the server is ready, if what its runtime keeps of random
// numbers is reseeded in clones and --env gives it nothing that a template's memory should not
// keep.
struct PointChoice {
  FreezeRequest::Point point = FreezeRequest::Point::kReady;
  const char* why = "";  // for before-exec: a line for the user
};
PointChoice choose_point(const RunOptions& options, const image::Prepared& prepared);

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
// What the server writes to stderr meanwhile goes to stderr.
Result<TemplateMade> make_template(const TemplateStore& store, const TemplateOrder& order,
                                   const RunOptions& options, const image::Prepared& prepared);

// The folder of a user's templates: $THIMBLE_TEMPLATES or in the cache; or in memory, gone with the
// next start of the machine.
enum class TemplatePlace { kDisk, kMemory };
Result<TemplateStore> open_templates(TemplatePlace place);
// Where the template `name` is; on the disk when it is nowhere.
Result<TemplateStore> open_templates_with(const std::string& name);

}  // namespace thimble::cli
