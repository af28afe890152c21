// See request_key.h.
#include "pool/image/request_key.h"

#include "pool/image/host_path.h"
#include "pool/image/manifest.h"
#include "pool/image/reseed.h"

namespace thimble::image {

Result<std::string> request_key(const Request& request) {
  const std::string builder = "builder " + std::to_string(kBuilderVersion);
  if (request.kind == Request::Kind::kDirectory || request.kind == Request::Kind::kHostPath) {
    const Result<Survey> survey = survey_host_path(request);
    if (!survey) return std::unexpected(survey.error());
    std::string key = builder + " with times " + survey->fingerprint;
    for (const std::string& word : request.command) key += " " + word;
    return key;
  }
  const std::string node = request.node == NodeSource::kSystem ? " system node" : "";
  // "renewal": as in the keys of images that are there.
  const bool reseeds = request.kind == Request::Kind::kNpm || request.name != "busybox";
  return builder + node + (reseeds ? " renewal " + reseed_digest() : "") +
         (request.guest_root ? kWithScripts : "");
}

}  // namespace thimble::image
