// What `thimble run -- CMD` does about templates without being asked (docs/templates.md): a
// template of CMD is used when it is there, and made in the background when it is not, for the next
// run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/plan.h"
#include "pool/launch/clone_order.h"
#include "pool/launch/server_config.h"
#include "pool/launch/template_key.h"
#include "pool/start_slots.h"
#include "pool/template/template.h"

namespace thimble::launch {

class AutoTemplate {
 public:
  // Nothing: --cold, THIMBLE_TEMPLATES=off, or a host where templates have no place (said with
  // --verbose).
  static std::optional<AutoTemplate> open(const ServerConfig& config,
                                          const image::Prepared& prepared, const ServerSpec& server,
                                          Say say);

  // The clone to run: of the server itself, or else of its guest before the server started.
  [[nodiscard]] std::optional<CloneOrder> find() const;

  // A clone of this kind leaves nothing to be made.
  [[nodiscard]] FreezeRequest::Point best_point() const { return points_.front(); }

  // Of those that find() looks for.
  [[nodiscard]] std::vector<std::string> names() const;
  // Whether it has something to look at.
  [[nodiscard]] bool is_there() const;

  // Starts a process of its own, in no hurry, that makes what is missing and is not being made by
  // another; `words` are those of `thimble run`. Does nothing when nothing is missing, or when
  // the last try failed not long ago. One that was just `refused` by name is made anew, and there
  // until the new one takes its place: the refusal may have been of the moment. The process goes on
  // in `turn` where other starts wait for what it makes.
  void make_in_background(const std::vector<std::string>& words, const std::string& refused,
                          StartSlot turn) const;

 private:
  AutoTemplate(const ServerConfig& config, Say say, ServerSpec server,
               std::vector<TemplateStore> stores, std::vector<FreezeRequest::Point> points,
               TemplateKey key);
  [[nodiscard]] const TemplateStore* store_of(const std::string& name) const;
  void forget(const std::string& name) const;

  ServerSpec server_;
  Say say_;
  std::vector<TemplateStore> stores_;         // where new ones go comes first
  std::vector<FreezeRequest::Point> points_;  // the best comes first
  TemplateKey key_;
  bool verbose_;
};

}  // namespace thimble::launch
