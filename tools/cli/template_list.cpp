// See template_list.h.
#include "tools/cli/template_list.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "devices/printable.h"
#include "devices/text.h"
#include "pool/launch/template_make.h"
#include "tools/cli/say.h"
#include "tools/cli/template_prune.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {

constexpr const char* kName = "thimble template";
constexpr size_t kShownCommand = 60;
constexpr uint64_t kMinutesInTwoDays = 2880;

// The stores of both places, as far as they are there.
std::vector<TemplateStore> all_stores() {
  std::vector<TemplateStore> stores;
  for (const launch::TemplatePlace place :
       {launch::TemplatePlace::kDisk, launch::TemplatePlace::kMemory}) {
    if (auto store = launch::open_templates(place)) stores.push_back(std::move(*store));
  }
  return stores;
}

nlohmann::json to_json(const TemplateStore& store, const std::string& name,
                       const TemplateFacts& facts) {
  return {{"name", name},
          {"frozen", launch::point_name(facts.point)},
          {"command", facts.command},
          {"note", facts.note},
          {"created", facts.created},
          {"last_use", store.last_use(name)},
          {"memory_bytes", facts.memory_bytes},
          {"vcpus", facts.vcpus},
          {"stored_bytes", store.stored_bytes(name)},
          {"folder", store.path_of(name).string()}};
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return printable(line, kShownCommand);
}

std::string ago(uint64_t then) {
  const auto now = static_cast<uint64_t>(::time(nullptr));
  const uint64_t minutes = now > then ? (now - then) / 60 : 0;
  if (minutes < 60) return text("%llum", static_cast<unsigned long long>(minutes));
  if (minutes < kMinutesInTwoDays)
    return text("%lluh", static_cast<unsigned long long>(minutes / 60));
  return text("%llud", static_cast<unsigned long long>(minutes * 2 / kMinutesInTwoDays));
}

void print_line(const TemplateStore& store, const std::string& name, const TemplateFacts& facts) {
  print(text("%-30s %-12s %6llu MiB  used %5s ago  %s", name.c_str(),
             launch::point_name(facts.point),
             static_cast<unsigned long long>(store.stored_bytes(name) >> 20),
             ago(store.last_use(name)).c_str(), joined(facts.command).c_str()));
  if (!facts.note.empty()) print("  " + printable(facts.note));
}

// What was tried and did not come about, and is not tried again for a while.
void print_failures(const TemplateStore& store) {
  for (const std::string& name : store.failures()) {
    print(text("%-30s %-12s ", name.c_str(), "not made") + store.failure(name).value_or(""));
  }
}

}  // namespace

Result<int> list_templates(const Arguments& arguments) {
  const bool json = arguments == Arguments{"--json"};
  if (!arguments.empty() && !json) return usage_error(kName, "ls takes --json and nothing else");
  nlohmann::json all = nlohmann::json::array();
  bool any = false;
  for (const TemplateStore& store : all_stores()) {
    for (const std::string& name : store.names()) {
      any = true;
      auto facts = store.facts(name);
      if (!facts) {
        say(facts.error().message);
      } else if (json) {
        all.push_back(to_json(store, name, *facts));
      } else {
        print_line(store, name, *facts);
      }
    }
    any = any || !store.failures().empty();
    if (!json) print_failures(store);
  }
  if (!json && !any) say("no templates: `thimble template create NAME -- CMD` makes one");
  if (json) print_json(all);
  return 0;
}

Result<int> inspect_templates(const Arguments& arguments) {
  if (arguments.size() != 1) return usage_error(kName, "inspect takes one NAME");
  auto store = launch::open_templates_with(arguments.front());
  if (!store) return std::unexpected(store.error());
  auto facts = store->facts(arguments.front());
  if (!facts) return std::unexpected(facts.error());
  print_json(to_json(*store, arguments.front(), *facts));
  return 0;
}

Result<int> remove_templates(const Arguments& arguments) {
  if (arguments.empty()) return usage_error(kName, "rm takes one NAME or more");
  for (const std::string& name : arguments) {
    auto store = launch::open_templates_with(name);
    if (!store) return std::unexpected(store.error());
    if (auto removed = store->remove(name); !removed) return std::unexpected(removed.error());
  }
  return 0;
}

Result<int> prune_main(const Arguments& arguments) {
  PruneLimits limits;
  std::string unused_for;
  std::string max_size;
  bool all = false;
  Options declared(kName);
  declared.set_usage("thimble template prune [--unused-for DURATION] [--max-size SIZE] [--all]");
  declared.add("--unused-for", unused_for, "Remove what was not used for so long (default: 30d)");
  declared.add("--max-size", max_size, "Keep the last used ones that fit (default: 16G)");
  declared.add_flag("--all", all, "Remove all of them");
  if (auto status = declared.parse(arguments)) return *status;
  if (!unused_for.empty()) {
    auto duration = parse_duration(unused_for);
    if (!duration) return usage_error(kName, "--unused-for: " + duration.error().message);
    limits.unused_for = std::chrono::duration_cast<std::chrono::seconds>(*duration);
  }
  if (!max_size.empty()) {
    auto size = parse_size(max_size);
    if (!size) return usage_error(kName, "--max-size: " + size.error().message);
    limits.max_bytes = *size;
  }
  if (all) limits = {.unused_for = {}, .max_bytes = 0, .keep = {}};
  for (const TemplateStore& store : all_stores()) {
    for (const std::string& name : prune_templates(store, limits)) print(name);
  }
  return 0;
}

}  // namespace thimble::cli
