// See auto_template.h.
#include "pool/launch/auto_template.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "devices/base/detached_program.h"
#include "pool/launch/template_key.h"
#include "pool/launch/template_make.h"

namespace thimble::launch {

namespace {

using Point = FreezeRequest::Point;

bool are_off() {
  const char* value = std::getenv("THIMBLE_TEMPLATES");
  return value != nullptr && std::string_view(value) == "off";
}

bool may_be_ready(const ServerConfig& config, const image::Prepared& prepared) {
  return choose_point(config, prepared).point == Point::kReady && config.awaits_client;
}

}  // namespace

AutoTemplate::AutoTemplate(const ServerConfig& config, Say say, ServerSpec server,
                           std::vector<TemplateStore> stores, std::vector<Point> points,
                           TemplateKey key)
    : server_(std::move(server)),
      say_(std::move(say)),
      stores_(std::move(stores)),
      points_(std::move(points)),
      key_(std::move(key)),
      verbose_(config.verbose) {}

std::optional<AutoTemplate> AutoTemplate::open(const ServerConfig& config,
                                               const image::Prepared& prepared,
                                               const ServerSpec& server, Say say) {
  if (config.cold || are_off()) return std::nullopt;
  std::vector<TemplatePlace> places = {TemplatePlace::kDisk, TemplatePlace::kMemory};
  if (config.in_memory) std::swap(places[0], places[1]);
  std::vector<TemplateStore> stores;
  for (const TemplatePlace place : places) {
    auto store = open_templates(place);
    if (store) {
      stores.push_back(std::move(*store));
    } else if (config.verbose || place == places[0]) {
      say(store.error().message);
    }
    if (!store && place == places[0]) return std::nullopt;
  }
  std::vector<Point> points = {Point::kBeforeExec};
  if (may_be_ready(config, prepared)) points.insert(points.begin(), Point::kReady);
  auto key = TemplateKey::collect(config, prepared, server);
  if (!key) {
    if (config.verbose) say(key.error().message);
    return std::nullopt;
  }
  return AutoTemplate(config, std::move(say), server, std::move(stores), std::move(points),
                      std::move(*key));
}

const TemplateStore* AutoTemplate::store_of(const std::string& name) const {
  for (const TemplateStore& store : stores_) {
    if (store.has(name)) return &store;
  }
  return nullptr;
}

std::vector<std::string> AutoTemplate::names() const {
  std::vector<std::string> names;
  names.reserve(points_.size());
  for (const Point point : points_) names.push_back(key_.name(point));
  return names;
}

bool AutoTemplate::is_there() const {
  return std::ranges::any_of(points_,
                             [this](Point point) { return store_of(key_.name(point)) != nullptr; });
}

std::optional<CloneOrder> AutoTemplate::find() const {
  for (const Point point : points_) {
    const std::string name = key_.name(point);
    const TemplateStore* const store = store_of(name);
    if (store == nullptr) continue;
    auto order = order_clone(*store, name);
    if (!order && order.error().kind == FileFault::Kind::kPassing) {
      say_(order.error().message + ": booting instead");
      return std::nullopt;
    }
    if (!order) {
      say_(order.error().message + ": it is made anew");
      forget(name);
      continue;
    }
    if (point == Point::kBeforeExec) order->server = server_;
    return std::move(*order);
  }
  return std::nullopt;
}

void AutoTemplate::forget(const std::string& name) const {
  const TemplateStore* const store = store_of(name);
  if (store == nullptr) return;
  if (auto removed = store->remove(name); !removed && verbose_) say_(removed.error().message);
}

void AutoTemplate::make_in_background(const std::vector<std::string>& words,
                                      const std::string& refused, StartSlot turn) const {
  for (const Point point : points_) {
    const std::string name = key_.name(point);
    const bool anew = name == refused;
    if (!anew && store_of(name) != nullptr) return;  // what is less good is not missed
    if (const auto why = stores_.front().failure(name)) {
      if (verbose_) say_("no template frozen " + std::string(point_name(point)) + ": " + *why);
      continue;
    }
    if (verbose_) say_("making a template for the next run: " + name);
    std::vector<std::string> command = {"template", "auto", "--in-background", "--freeze",
                                        point_name(point)};
    if (anew) command.emplace_back("--anew");
    const Fd given = turn.pass_on();
    if (given) command.emplace_back("--with-turn");
    command.insert(command.end(), words.begin(), words.end());
    command.insert(command.begin(), "thimble");
    DetachedProgram maker{.arguments = std::move(command),
                          .environment = environment_of_this_process(),
                          .passed = {}};
    if (given) maker.passed.push_back(given.get());
    if (auto started = start_detached(maker); !started && verbose_) {
      say_(started.error().message);
    }
    return;
  }
}

}  // namespace thimble::launch
