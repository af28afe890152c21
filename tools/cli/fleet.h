// What runs, as `thimble status` and `thimble top` show it: launched VMs and the daemon's pool.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::cli {

//   {"daemon": {"pid", "uptime_s", "clients", "limits"} or null,
//    "templates": […], "vms": […]           as the daemon tells them (docs/pool.md)
//    "launched": [{"name", "state", "supervisor", "started", "exit_status", "command", "socket"}]}
Result<nlohmann::json> look_at_fleet();

// For people: the lines of a few tables. Everything in them is printable.
std::vector<std::string> describe_fleet(const nlohmann::json& fleet);

}  // namespace thimble::cli
