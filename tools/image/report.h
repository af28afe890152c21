// What a jailed build hands out when it is done: the manifest (without hashes, which only the
// outside may say) and the inputs of the image. The reader takes it for hostile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "devices/result.h"
#include "pool/image/manifest.h"

namespace thimble::image {

struct Report {
  Manifest manifest;
  nlohmann::json inputs = nlohmann::json::object();
};

inline constexpr std::uint64_t kLongestReport = 64 << 20;

std::string report_to_text(const Report& report);
Result<Report> report_from_text(const std::string& text);

}  // namespace thimble::image
